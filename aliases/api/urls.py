"""`/api/…`, each path with and without a trailing slash: a redirect breaks clients."""

from collections.abc import Callable

from django.http import HttpResponseBase
from django.urls import URLPattern, re_path

from aliases.api import simplelogin

# An id has at most 18 digits, so that it fits the column.
KEY = "(?P<key>[0-9]{1,18})"


def route(path: str, view: Callable[..., HttpResponseBase], name: str) -> URLPattern:
    """A path that is served with and without a trailing slash; `<key>` is an id."""
    return re_path(rf"^{path.replace('<key>', KEY)}/?$", view, name=name)


urlpatterns = [
    route("alias/random/new", simplelogin.RandomAlias.as_view(), "api-alias-random"),
    route("v2/aliases", simplelogin.AliasList.as_view(), "api-alias-list"),
    route("aliases/<key>", simplelogin.AliasDetail.as_view(), "api-alias"),
    route("aliases/<key>/toggle", simplelogin.AliasToggle.as_view(), "api-alias-toggle"),
    route("aliases/<key>/activities", simplelogin.AliasActivities.as_view(), "api-alias-activities"),
    route("user_info", simplelogin.UserInfo.as_view(), "api-user-info"),
    route("stats", simplelogin.Stats.as_view(), "api-stats"),
]
