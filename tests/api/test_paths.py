"""The API's paths and methods as real clients write them. Each was seen to break a server."""

import pytest
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from aliases.issuing import issue
from tests.api.calls import CREATE, post
from tests.api.endpoints import patterns

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "path",
    [
        "/api/alias/random/new",
        "/api/alias/random/new/",
        "//api/alias/random/new",
        "///api/alias/random/new/",
        "/api//alias/random//new",
    ],
)
def test_the_path_is_served_as_clients_write_it_without_a_redirect(key: str, path: str) -> None:
    answer = post(key, path)

    assert answer.status_code == 201
    assert answer["Content-Type"] == "application/json"


ENDS_THE_KEY = {("/api/logout", "GET"), ("/api/logout", "HEAD"), ("/api/auth/logout", "POST")}


@pytest.mark.sqlite
def test_no_path_of_the_api_ever_redirects(key: str) -> None:
    for pattern in patterns():
        path = "/api/" + str(pattern.pattern).replace("<key:key>", "1")
        path = path.replace("<id:uuid>", "50c9e585-e7f5-41c4-9016-9014c15454bc")
        for url in (path, f"{path}/", f"/{path}"):
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"):
                if (path, method) in ENDS_THE_KEY:
                    continue
                answer = Client().generic(method, url, PATH_INFO=url, headers={"Authentication": key})
                assert answer.status_code not in range(300, 400), (method, url)
                is_csv = (
                    path == "/api/export/aliases" and method in {"GET", "HEAD"} and answer.status_code == 200
                )
                media_type = "text/csv; charset=utf-8" if is_csv else "application/json"
                assert answer["Content-Type"] == media_type, (method, url)


@pytest.mark.parametrize("path", [CREATE, f"/{CREATE}"])
def test_https_does_not_redirect_the_api(key: str, path: str, settings: Settings) -> None:
    settings.SECURE_SSL_REDIRECT = True

    assert Client().get("/accounts/login/").status_code == 301
    assert post(key, path).status_code == 201


def test_options_without_origin_names_the_methods() -> None:
    answer = Client().options(CREATE)

    assert answer.status_code == 204
    assert answer["Allow"] == "POST, OPTIONS"


def test_the_methods_are_named_when_another_is_used(key: str) -> None:
    answer = Client().put(CREATE, headers={"Authentication": key})

    assert (answer.status_code, answer["Allow"]) == (405, "POST, OPTIONS")


def test_a_head_is_a_get_without_its_body(key: str) -> None:
    answer = Client().head("/api/user_info", headers={"Authentication": key})

    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/json"
    assert answer.content == b""
    assert Client().head(CREATE, headers={"Authentication": key}).status_code == 405


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
def test_no_header_changes_the_method(alice: User, key: str, name: str) -> None:
    alias = issue(owner=alice)

    answer = post(key, f"/api/aliases/{alias.pk}", headers={name: "DELETE"})

    alias.refresh_from_db()
    assert answer.status_code == 405
    assert not alias.is_deleted
