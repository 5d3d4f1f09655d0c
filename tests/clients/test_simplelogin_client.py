"""PyPI's simplelogin-client, unmodified, against the running server: all of its calls."""

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from pytest_django.live_server_helper import LiveServer

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from mail.models import Activity, Event

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def library(
    installed: Callable[[str, str], Path], live_server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """The module, told where the server is. It is loaded by its path: another client has its name."""
    path = installed("simplelogin-client", "simplelogin.py")
    spec = importlib.util.spec_from_file_location("simplelogin_client_of_pypi", path)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module.SimpleLoginClient, "BASE_URL", live_server.url)
    return module


def test_it_makes_and_lists_aliases(library: Any, key: str) -> None:
    client = library.SimpleLoginClient(key)

    made = client.create_random_alias(library.AliasMode.WORD, note="from the library")
    uuid = client.create_random_alias(library.AliasMode.UUID)
    listed = client.list_aliases()
    found = client.list_aliases(query="from the library")

    alias = Alias.objects.get(note="from the library")
    assert made["email"] == made["alias"] == alias.address
    assert re.fullmatch(r"[0-9a-f-]{36}@example\.com", uuid["email"])
    assert {row["email"] for row in listed} == {alias.address, uuid["email"]}
    assert [(row["id"], row["mailbox"], row["note"]) for row in found] == [
        (alias.pk, "alice@example.com", "from the library")
    ]


def test_it_filters_and_turns_pages(library: Any, alice: User, key: str) -> None:
    client = library.SimpleLoginClient(key)
    aliases = [issue(owner=alice) for _ in range(21)]
    aliases[0].disable()
    aliases[1].change(pinned=True)
    aliases[2].soft_delete()
    Activity.objects.create(alias=aliases[1], event=Event.FORWARD, sender="eve@sender.test")

    pages = [client.list_aliases(page=page) for page in range(2)]

    assert [len(page) for page in pages] == [20, 0]
    assert {row["email"] for row in pages[0]} == {alias.address for alias in aliases} - {aliases[2].address}
    assert pages[0][0]["latest_activity"].startswith("forward (")
    assert [row["id"] for row in client.list_aliases(disabled=True)] == [aliases[0].pk]
    assert [row["id"] for row in client.list_aliases(pinned=True)] == [aliases[1].pk]
    assert len(client.list_aliases(enabled=True)) == 19


def test_it_lists_mailboxes(library: Any, alice: User, key: str) -> None:
    EmailAddress.objects.create(user=alice, email="alice@home.test", verified=False)

    boxes = library.SimpleLoginClient(key).list_mailboxes()

    assert [(box["id"], box["email"], box["verified"], box["default"]) for box in boxes] == [
        (row.pk, row.email, row.verified, row.primary)
        for row in EmailAddress.objects.filter(user=alice).order_by("pk")
    ]


def test_it_makes_a_custom_alias(library: Any, alice: User, key: str) -> None:
    client = library.SimpleLoginClient(key)
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)

    first = client.create_custom_alias("my-shop", note="n", name="Alice")
    second = client.create_custom_alias("bank", mailbox_ids=[home.pk], suffix="example.com")
    taken = client.create_custom_alias("bank")
    not_offered = client.create_custom_alias("bank", suffix="@elsewhere.test")

    assert first["alias"] == "my-shop@example.com"
    alias = Alias.objects.get(address="my-shop@example.com")
    assert (alias.note, alias.name) == ("n", "Alice")
    # Without ids the library names all that it finds.
    assert {row.email for row in alias.destinations.all()} == {"alice@example.com", "alice@home.test"}
    assert second["mailboxes"] == [{"id": home.pk, "email": "alice@home.test"}]
    assert (taken, not_offered) == (None, None)
    assert Alias.objects.count() == 2


def test_it_is_refused_with_a_wrong_key(library: Any, alice: User) -> None:
    client = library.SimpleLoginClient(f"{alice.email}:{'x' * 48}")

    assert client.list_aliases() is None
    assert client.list_mailboxes() is None
    assert client.create_random_alias(library.AliasMode.WORD) is None
    assert client.create_custom_alias("shop") is None
    assert not Alias.objects.exists()
