"""A published client library of SimpleLogin's, unmodified, against the running server."""

import re

import pytest
import simplelogin
from pytest_django.live_server_helper import LiveServer

from accounts.models import User
from aliases.models import Alias
from tokens.models import Token


@pytest.mark.django_db(transaction=True)
def test_pypi_simplelogin_client_makes_and_lists_aliases(
    alice: User, live_server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simplelogin.SimpleLoginClient, "BASE_URL", live_server.url)
    _token, secret = Token.objects.issue(owner=alice, name="simplelogin-client")
    client = simplelogin.SimpleLoginClient(f"{alice.email}:{secret}")

    made = client.create_random_alias(simplelogin.AliasMode.WORD, note="from the library")
    uuid = client.create_random_alias(simplelogin.AliasMode.UUID)
    listed = client.list_aliases()
    found = client.list_aliases(query="from the library")

    alias = Alias.objects.get(note="from the library")
    assert made is not None
    assert made["email"] == alias.address
    assert uuid is not None
    assert re.fullmatch(r"[0-9a-f-]{36}@example\.com", uuid["email"])
    assert listed is not None
    assert {row["email"] for row in listed} == {alias.address, uuid["email"]}
    assert found is not None
    assert [(row["id"], row["mailbox"], row["note"]) for row in found] == [
        (alias.pk, "alice@example.com", "from the library")
    ]

    alias.disable()
    assert [row["email"] for row in client.list_aliases(disabled=True) or []] == [alias.address]
    alias.soft_delete()
    assert [row["email"] for row in client.list_aliases() or []] == [uuid["email"]]


@pytest.mark.django_db(transaction=True)
def test_pypi_simplelogin_client_is_refused_with_a_wrong_key(
    alice: User, live_server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simplelogin.SimpleLoginClient, "BASE_URL", live_server.url)
    client = simplelogin.SimpleLoginClient(f"{alice.email}:{'x' * 48}")

    assert client.list_aliases() is None
    assert client.create_random_alias(simplelogin.AliasMode.WORD) is None
    assert not Alias.objects.exists()
