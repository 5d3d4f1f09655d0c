"""A database that takes no changes, and pages: those that read are shown, and those that write say so."""

import logging
from html import unescape

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from aliases.models import Alias
from tests.anonmail_site import test_urls as urls
from tests.rig.read_only import read_only

pytestmark = pytest.mark.django_db

things = urls.things

SENTENCE = "The service is not available for a moment. Try again shortly."
# What is sent with a POST, so that it would change something.
FORMS = {
    "alias-quick": {"hostname": "shop.test"},
    "alias": {"note": "x"},
    "alias-note": {"note": "x"},
    "alias-bulk": {"action": "disable"},
    "token-new": {"name": "x", "scopes": ["create"]},
    "account": {"name": "Alice", "style": "uuid"},
    "contact-list": {"contact": "joe@shop.test"},
    "address-list": {"email": "more@home.test"},
}
WRITE = {
    *(
        "alias-quick",
        "alias-note",
        "alias-disable",
        "alias-pin",
        "alias-delete",
        "alias-restore",
    ),
    *("contact-block", "contact-remove", "token-revoke", "address-remove", "domain-revoke"),
}


@pytest.fixture
def alices(things: urls.Things, alice: User) -> Client:
    client = urls.browser(alice, "alice-password-1")
    client.raise_request_exception = False
    return client


def test_pages_that_read_are_shown(
    alices: Client, things: urls.Things, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = []
    for name, (expected, *_others) in urls.ROWS.items():
        with read_only():
            answer = alices.get(things.url(name))
        if answer.status_code != expected:
            wrong.append((name, answer.status_code))

    assert wrong == []
    assert not [record for record in caplog.records if record.exc_info]


def test_pages_that_write_say_that_it_is_for_a_moment(
    alices: Client,
    things: urls.Things,
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = list(Alias.objects.order_by("pk").values())
    unavailable, wrong = set(), []
    for name, (*_answers, takes_post) in urls.ROWS.items():
        if not takes_post:
            continue
        form = FORMS.get(name, {}) | ({"selected": [things.alias.pk]} if name == "alias-bulk" else {})
        with read_only():
            answer = alices.post(things.url(name), form)
        if answer.status_code == 503:
            unavailable.add(name)
            assert answer["Retry-After"] == "5"
            assert SENTENCE in unescape(answer.content.decode())
        elif answer.status_code >= 500:
            wrong.append((name, answer.status_code))

    assert wrong == []
    assert unavailable >= WRITE
    assert list(Alias.objects.order_by("pk").values()) == before
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]
    # Not once for each.
    assert len([record for record in caplog.records if "database away" in record.getMessage()]) == 1


def test_signing_in_says_so_too(alice: User) -> None:
    client = Client(raise_request_exception=False)

    with read_only():
        shown = client.get("/accounts/login/")
        answer = client.post("/accounts/login/", {"login": alice.email, "password": "alice-password-1"})

    assert shown.status_code == 200
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert "sessionid" not in answer.cookies


def test_a_wrong_statement_is_a_fault_of_ours(
    alices: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from django.db import connection

    def wrong(*args: object, **kwargs: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM no_such_table")

    monkeypatch.setattr("aliases.views.issue", wrong)

    answer = alices.post(reverse("alias-quick"), {"hostname": "shop.test"})

    assert answer.status_code == 500
    assert [record for record in caplog.records if record.exc_info]
