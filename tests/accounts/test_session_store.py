"""Sessions, as each request of a signed-in reader reads them."""

from datetime import timedelta

import pytest
from django.conf import settings
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from accounts.session_store import SessionStore

pytestmark = pytest.mark.django_db


def stored() -> str:
    store = SessionStore()
    store["seen"] = "yes"
    store.create()
    assert store.session_key
    return store.session_key


def test_a_session_is_read_in_one_statement(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    key = stored()

    with django_assert_num_queries(1):
        assert SessionStore(key).get("seen") == "yes"


def test_a_session_that_is_over_or_unknown_is_empty_and_keeps_no_key() -> None:
    over = stored()
    Session.objects.filter(session_key=over).update(expire_date=timezone.now() - timedelta(seconds=1))

    for key in (over, "x" * 32, "' OR 1=1 --", "é" * 40, "\0" * 32):
        store = SessionStore(key)
        assert store.get("seen") is None
        # A key that the reader chose is never given a session.
        assert store.session_key is None


def test_a_key_that_no_database_can_store_is_one_of_nobody(client: Client) -> None:
    cookie = f'{settings.SESSION_COOKIE_NAME}="\\000{"x" * 31}"'

    # RFC 6265 has no escapes; Python's reader of cookies has.
    assert client.get("/aliases/", headers={"cookie": cookie}).status_code == 302


def test_a_session_ends_with_its_row_its_user_and_their_activity(browser: Client, alice: User) -> None:
    def status() -> int:
        return browser.get("/aliases/").status_code

    assert status() == 200
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert status() == 302
    User.objects.filter(pk=alice.pk).update(is_active=True)
    browser.force_login(alice)
    assert status() == 200
    Session.objects.filter(session_key=browser.cookies[settings.SESSION_COOKIE_NAME].value).delete()
    assert status() == 302
