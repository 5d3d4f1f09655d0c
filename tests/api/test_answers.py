"""Every answer of the API is JSON, whatever the client accepts and whatever fails."""

import logging
from io import StringIO

import pytest
from pytest_django import Settings

from accounts.models import User
from core.logs import RedactingFormatter
from tests.api.calls import CREATE, post

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "*/*", "nonsense", ""])
@pytest.mark.parametrize("query", ["", "?format=html", "?format=api"])
def test_the_answer_is_json_whatever_the_client_accepts(key: str, accept: str, query: str) -> None:
    answer = post(key, CREATE + query, headers={"Accept": accept})

    assert answer.status_code == 201
    assert answer["Content-Type"] == "application/json"
    assert not answer.content.startswith(b"\xef\xbb\xbf")
    assert answer["Cache-Control"] == "no-store"


@pytest.mark.parametrize("debug", [False, True])
def test_a_crash_is_told_in_json_and_logged_without_names(
    alice: User, key: str, monkeypatch: pytest.MonkeyPatch, settings: Settings, debug: bool
) -> None:
    settings.DEBUG = debug
    log = StringIO()
    handler = logging.StreamHandler(log)
    handler.setFormatter(RedactingFormatter("%(message)s"))
    logging.getLogger().addHandler(handler)

    def crash(*args: object, **kwargs: object) -> None:
        raise RuntimeError(f"boom {alice.email} {key.partition(':')[2]}")

    with monkeypatch.context() as patch:
        patch.setattr("api.simplelogin.aliases.issue", crash)
        answer = post(key, f"{CREATE}?hostname=secret-site.test")
    logging.getLogger().removeHandler(handler)

    assert answer.status_code == 500
    assert answer["Content-Type"] == "application/json"
    assert answer.json() == {"error": "Something went wrong on our side. It is logged; try again later."}
    assert "RuntimeError: boom [address] [secret]" in log.getvalue()
    assert "secret-site" not in log.getvalue()


def test_a_wrong_host_header_is_told_in_json(key: str) -> None:
    answer = post(key, HTTP_HOST="evil.test")

    assert answer.status_code == 400
    assert answer.json() == {"error": "The request is malformed."}
