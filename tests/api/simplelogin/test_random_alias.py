"""The main job: `POST /api/alias/random/new`."""

import json
import re
from typing import Any

import pytest
from allauth.account.models import EmailAddress

from accounts.models import User
from aliases.models import Alias, AliasPreferences
from api.query import read_query
from tests.api.calls import CREATE, post
from tests.conftest import Api

pytestmark = pytest.mark.django_db


def test_a_password_manager_gets_a_fresh_address_named_after_the_site(alice: User, api: Api) -> None:
    answer = api(alice).post(f"{CREATE}?hostname=www.github.com", {"note": "mine"}, format="json")

    assert answer.status_code == 201
    assert answer["Content-Type"] == "application/json"
    body = answer.json()
    assert re.fullmatch(r"github\.[a-z]+@example\.com", body["alias"])
    alias = Alias.objects.get(address=body["alias"])
    assert alias.owner == alice
    assert body == {
        "alias": alias.address,
        "email": alias.address,
        "id": alias.pk,
        "name": None,
        "enabled": True,
        "pinned": False,
        "note": "mine",
        "creation_date": alias.created.strftime("%Y-%m-%d %H:%M:%S+00:00"),
        "creation_timestamp": int(alias.created.timestamp()),
        "nb_forward": 0,
        "nb_block": 0,
        "nb_reply": 0,
        "mailbox": {"id": body["mailbox"]["id"], "email": "alice@example.com"},
        "mailboxes": [{"id": body["mailbox"]["id"], "email": "alice@example.com"}],
        "support_pgp": False,
        "disable_pgp": False,
        "latest_activity": None,
    }


def test_a_client_without_user_agent_and_site_gets_an_alias(key: str) -> None:
    """Bitwarden on Android: no User-Agent, `hostname` there and empty."""
    answer = post(key, f"{CREATE}?hostname=")

    assert "HTTP_USER_AGENT" not in answer.wsgi_request.META
    assert answer.status_code == 201


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {}),
        ("hostname=github.com", {"hostname": "github.com"}),
        ("hostname=", {"hostname": ""}),
        (
            "hostname=https%3A%2F%2Fa.test%2F%3Fx%3D1&mode=uuid",
            {"hostname": "https://a.test/?x=1", "mode": "uuid"},
        ),
        # Bitwarden 2026.6: the page's whole URL, unescaped. Its own query is not for us.
        (
            "hostname=https://a.test/?x=1&mode=zzz&domain=evil.test&hostname=b.test",
            {"hostname": "https://a.test/?x=1&mode=zzz&domain=evil.test&hostname=b.test"},
        ),
        (
            "mode=word&hostname=https://a.test/?mode=uuid",
            {"mode": "word", "hostname": "https://a.test/?mode=uuid"},
        ),
        ("domain=a.test&domain=b.test", {"domain": "a.test"}),
        ("%00=%ff&&&=&hostname", {"\x00": "�", "": "", "hostname": ""}),
    ],
)
def test_a_query_is_read_as_it_was_meant(query: str, expected: dict[str, str]) -> None:
    assert read_query(query) == expected


def test_a_pages_own_query_changes_nothing(key: str) -> None:
    answer = post(key, f"{CREATE}?hostname=https://u:p@a.test/?x=1&mode=uuid&domain=evil.test")

    alias = Alias.objects.get()
    assert answer.status_code == 201
    assert alias.hostname == "a.test"
    assert alias.address.startswith("a.")
    assert alias.note == "Website: a.test"


@pytest.mark.parametrize("mode", ["zzz", "", "UUID", "%00"])
def test_a_stray_mode_is_ignored(key: str, mode: str) -> None:
    alias = post(key, f"{CREATE}?hostname=github.com&mode={mode}").json()["alias"]

    assert alias.startswith("github.")


def test_mode_chooses_between_words_and_uuid(alice: User, key: str) -> None:
    assert len(post(key, f"{CREATE}?mode=uuid").json()["alias"].partition("@")[0]) == 36
    AliasPreferences.objects.create(user=alice, style="uuid")
    assert len(post(key, CREATE).json()["alias"].partition("@")[0]) == 36
    assert post(key, f"{CREATE}?hostname=github.com&mode=word").json()["alias"].startswith("github.")


@pytest.mark.parametrize(
    "hostname", ["", "not%20a%20url", "[::1]:9000", "x" * 10_000, "%00%01", "🦄", "com.example.app", "?", "%"]
)
def test_no_hostname_is_a_reason_to_refuse(key: str, hostname: str) -> None:
    assert post(key, f"{CREATE}?hostname={hostname}").status_code == 201


def test_our_extensions_choose_domain_and_destinations(alice: User, key: str, other_org: Any) -> None:
    other_org.grant(alice)
    EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    both = ["ALICE@home.test", "alice@example.com", "alice@home.test"]

    in_body = post(key, body=json.dumps({"domain": "OTHER.org", "destination": both}).encode()).json()
    in_query = post(key, f"{CREATE}?domain=other.org", body=b'{"destination": "alice@home.test"}').json()

    assert in_body["alias"].endswith("@other.org")
    assert [box["email"] for box in in_body["mailboxes"]] == ["alice@home.test", "alice@example.com"]
    assert in_query["alias"].endswith("@other.org")
    assert in_query["mailbox"]["email"] == "alice@home.test"


def test_a_note_is_kept_whole_up_to_ten_thousand_characters(key: str) -> None:
    note = "ü☃\n\t" * 2500

    answer = post(key, body=json.dumps({"note": note}).encode())

    assert answer.json()["note"] == note


def test_the_note_of_a_password_manager_keeps_no_url(key: str) -> None:
    note = "Website: https://u:p@shop.test/cart?session=secret. Generated by Bitwarden."

    answer = post(key, body=json.dumps({"note": note}).encode())

    assert answer.json()["note"] == "Website: shop.test. Generated by Bitwarden."
