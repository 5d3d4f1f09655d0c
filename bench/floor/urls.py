"""Bare views: what inserts one row or reads twenty, and what runs the statements of a create or a list."""

import json

from django.http import HttpRequest, HttpResponse
from django.urls import path

from bench.floor.models import Row
from bench.recorded import list_again, run_again


def insert(request: HttpRequest) -> HttpResponse:
    row = Row.objects.create(text="github.alpha@example.com")
    body = json.dumps({"id": row.pk, "alias": row.text}).encode()
    # The length saves a middleware (CommonMiddleware) and a chunked answer.
    return HttpResponse(
        body, status=201, content_type="application/json", headers={"Content-Length": str(len(body))}
    )


def statements(request: HttpRequest) -> HttpResponse:
    run_again()
    body = json.dumps({"alias": "github.alpha@example.com"}).encode()
    return HttpResponse(
        body, status=201, content_type="application/json", headers={"Content-Length": str(len(body))}
    )


def rows(request: HttpRequest) -> HttpResponse:
    found = list(Row.objects.order_by("-pk").values("id", "text")[:20])
    body = json.dumps({"aliases": found}).encode()
    return HttpResponse(body, content_type="application/json", headers={"Content-Length": str(len(body))})


def listed(request: HttpRequest) -> HttpResponse:
    body = list_again()
    return HttpResponse(body, content_type="application/json", headers={"Content-Length": str(len(body))})


urlpatterns = [
    path("insert", insert),
    path("statements", statements),
    path("rows", rows),
    path("listed", listed),
]
