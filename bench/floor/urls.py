"""A bare view that inserts one row: what a create cannot be quicker than."""

import json

from django.http import HttpRequest, HttpResponse
from django.urls import path

from bench.floor.models import Row


def insert(request: HttpRequest) -> HttpResponse:
    row = Row.objects.create(text="github.alpha@example.com")
    body = json.dumps({"id": row.pk, "alias": row.text}).encode()
    # The length saves a middleware (CommonMiddleware) and a chunked answer.
    return HttpResponse(
        body, status=201, content_type="application/json", headers={"Content-Length": str(len(body))}
    )


urlpatterns = [path("insert", insert)]
