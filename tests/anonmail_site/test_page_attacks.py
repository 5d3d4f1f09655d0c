"""What an attacker tried, each as a test."""

import base64
import io
import json
import re
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from aliases.issuing import issue
from anonmail_site.wsgi import application
from domains.models import Domain
from tests.rig.pages import HTMX

pytestmark = pytest.mark.django_db


def cursor_of(*values: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("order", "values"),
    [
        ("address", ("address", "\ud800")),
        ("newest", ("-created,-id", "0001-01-01T00:00:00+23:59", 1)),
        ("newest", ("-created,-id", "9999-12-31T23:59:59-23:59", 1)),
        ("forwards", ("-forwards,-id", 2**70, 1)),
        ("", ("-pinned,-active_at,-id", 1, "x", "y")),
    ],
)
def test_a_crafted_cursor_gives_the_first_page(
    browser: Client, alice: User, order: str, values: tuple[object, ...]
) -> None:
    issue(owner=alice)

    answer = browser.get("/aliases/", {"order": order, "cursor": cursor_of(*values)})

    assert answer.status_code == 200
    assert answer.content.decode().count('class="alias"') == 1


def test_keys_that_no_row_can_have_are_refused_in_words(
    browser: Client, alice: User, example_com: Domain
) -> None:
    huge = "9" * 30
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    issue(owner=alice, destinations=["alice@home.test"])

    assert browser.post("/aliases/new/", {"domain": example_com.pk, "destinations": huge}).status_code == 422
    assert browser.get("/aliases/shape/", {"destinations": huge}).status_code == 200
    removal = browser.post(f"/addresses/{home.pk}/remove/", {"move_to": "1" * 5000})
    assert "Choose where the aliases" in removal.content.decode()


@pytest.mark.parametrize("url", ["http://[", "http://x//evil.test/", "\\\\evil.test", "javascript:alert(1)"])
def test_the_way_back_after_signing_in_is_on_this_site(client: Client, db: None, url: str) -> None:
    answer = client.get("/aliases/", headers={**HTMX, "HX-Current-URL": url})

    target = parse_qs(urlsplit(answer["HX-Redirect"]).query)["next"][0]
    assert target.startswith("/")
    assert not target.startswith(("//", "/\\"))


@pytest.mark.parametrize(
    "charset", ["rot13", "undefined", "zlib", "idna", "punycode", "unicode_escape", "utf-7"]
)
@pytest.mark.parametrize("path", ["/aliases/?q=x", "/api/v2/aliases?page_id=0", "/accounts/login/?next=x"])
def test_a_charset_that_is_none_breaks_nothing(db: None, charset: str, path: str) -> None:
    """Through the WSGI application, as gunicorn calls it: Django reads the query before any middleware."""
    name, _mark, query = path.partition("?")
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": name,
        "QUERY_STRING": query,
        "SERVER_NAME": "testserver",
        "SERVER_PORT": "80",
        "HTTP_HOST": "testserver",
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_TYPE": f"application/json; charset={charset}",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.url_scheme": "http",
    }
    statuses: list[str] = []

    body = application(environ, lambda status, headers: statuses.append(status))
    list(body)
    body.close()  # type: ignore[attr-defined]

    assert statuses[0][:3] in {"200", "302", "401"}


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost:6666", "testserver"])
def test_mailed_links_lead_to_this_site_whatever_host_was_named(alice: User, host: str) -> None:
    Client().post("/accounts/password/reset/", {"email": alice.email}, HTTP_HOST=host)

    links = re.findall(r"https?://\S+", mail.outbox[-1].body)
    assert any("/password/reset/key/" in link for link in links)
    assert all(link.startswith("http://localhost:8000/") for link in links if "/accounts/" in link)


def test_adding_addresses_is_limited_so_that_it_finds_no_aliases(
    browser: Client, alice: User, settings: Settings
) -> None:
    settings.ADDRESSES_PER_HOUR = 2
    for number in range(2):
        browser.post("/addresses/", {"email": f"guess{number}@example.com"})

    refused = browser.post("/addresses/", {"email": "guess3@example.com"}, follow=True)

    assert "Too many attempts for now." in refused.content.decode()
    assert EmailAddress.objects.filter(user=alice).count() == 3


def test_no_cache_keeps_what_a_signed_in_person_sees(browser: Client) -> None:
    answer = browser.get("/aliases/")

    assert "no-store" in answer["Cache-Control"]
    assert "HX-Request" in answer["Vary"]
