"""Scripts of any site may call the API with a key, and nothing of the pages' sessions plays a part."""

import pytest
from django.db import OperationalError
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from tests.api.calls import CREATE, post
from tests.conftest import Api

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("path", [CREATE, f"/{CREATE}", "/api/user_info", "/api/nothing"])
@pytest.mark.parametrize("origin", ["https://vault.bitwarden.com", "chrome-extension://abcdef", "null"])
def test_a_preflight_needs_no_key(path: str, origin: str) -> None:
    answer = Client().options(
        path,
        PATH_INFO=path,
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authentication,content-type",
        },
    )

    assert answer.status_code == 200
    assert answer["Access-Control-Allow-Origin"] == "*"
    assert "authentication" in answer["Access-Control-Allow-Headers"]
    assert "POST" in answer["Access-Control-Allow-Methods"]
    assert "Access-Control-Allow-Credentials" not in answer


def test_every_answer_has_the_cors_headers(
    key: str, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    def away(*args: object, **kwargs: object) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    origin = {"Origin": "https://vault.example.com"}
    answers = [
        post(key, headers=origin),
        post("wrong", headers=origin),
        post(key, f"{CREATE}?domain=unknown.test", headers=origin),
        post(key, "/api/nothing", headers=origin),
        post(key, body=b" " * 300_000, headers=origin),
        Client().get(CREATE, headers={"Authentication": key, **origin}),
    ]
    with monkeypatch.context() as patch:
        patch.setattr("api.simplelogin.aliases.issue", lambda *args, **kwargs: 1 / 0)
        answers.append(post(key, headers=origin))
        patch.setattr("api.simplelogin.aliases.issue", away)
        answers.append(post(key, headers=origin))
    settings.ALIASES_PER_HOUR = 0
    answers.append(post(key, headers=origin))

    assert [answer.status_code for answer in answers] == [201, 401, 404, 404, 413, 405, 500, 503, 429]
    assert {answer["Access-Control-Expose-Headers"] for answer in answers} == {"Retry-After"}
    assert {answer["Access-Control-Allow-Origin"] for answer in answers} == {"*"}
    assert "Access-Control-Allow-Origin" not in Client().get("/accounts/login/", headers=origin)


def test_no_session_or_csrf_code_runs_for_the_api(
    alice: User, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object, request: object) -> None:
        pytest.fail("a request for the API came to a middleware of the pages")

    monkeypatch.setattr("django.contrib.sessions.middleware.SessionMiddleware.process_request", fail)
    monkeypatch.setattr("django.middleware.csrf.CsrfViewMiddleware.process_request", fail)
    client = api(alice)
    client.cookies["sessionid"] = "x" * 32

    assert client.get("/api/user_info").status_code == 200
    assert client.post("/api/alias/random/new").status_code == 201
    with pytest.raises(pytest.fail.Exception):
        client.get("/aliases/")


def test_no_page_shows_an_answer_of_the_api(alice: User, api: Api) -> None:
    for answer in (api(alice).get("/api/user_info"), Client().get("/api/nothing")):
        assert answer.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
