"""Pages of no one app."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def home(request: HttpRequest) -> HttpResponse:
    """Where a signed-in user begins."""
    return render(request, "home.html")
