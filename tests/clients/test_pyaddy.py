"""PyPI's pyaddy, unmodified, against the running server: all of its calls."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pytest_django.live_server_helper import LiveServer

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def library(
    installed: Callable[[str, str], Path], live_server: LiveServer, key: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SimpleNamespace]:
    """Its classes, told where the server is, and the key (which it would keep beside its own code)."""
    package = installed("pyaddy", "pyaddy/__init__.py").parent
    monkeypatch.syspath_prepend(str(package.parent))
    names = ("url", "addy_key", "aliases", "alias_bulk_actions", "domain", "api_details")
    modules = {name: importlib.import_module(f"pyaddy.API.{name}") for name in names}
    url: Any = modules["url"]
    monkeypatch.setattr(
        url.AddyURL, "__init__", lambda self: setattr(self, "base_url", f"{live_server.url}/api/v1/{{}}")
    )
    monkeypatch.setattr(modules["addy_key"].AddyKey, "load_key", lambda self: key)
    yield SimpleNamespace(
        aliases=modules["aliases"].Aliases(),
        bulk=modules["alias_bulk_actions"].AliasBulkActions(),
        domain=modules["domain"].Domain(),
        details=modules["api_details"].AddyApiDetails(),
    )
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyaddy"]:
        del sys.modules[name]


def test_it_makes_finds_and_changes_an_alias(library: SimpleNamespace) -> None:
    aliases = library.aliases
    # As its command line sends it, with keys that addy.io has under another name.
    payload = {"domain": "example.com", "description": "n", "format": "random_words", "recipient_id": None}

    made = aliases.create_new_alias(payload).json()["data"]
    listed = aliases.get_all_aliases({"filter[active]": "true", "sort": "-created_at"}).json()
    changed = aliases.update_specific_alias(made["id"], {"description": "new", "from_me": "x"}).json()["data"]

    alias = Alias.objects.get()
    assert made["email"] == alias.address
    assert [row["id"] for row in listed["data"]] == [made["id"]]
    assert listed["meta"]["total"] == 1
    assert (changed["description"], alias.note) == ("new", "new")
    assert aliases.get_specific_alias(made["id"]).json()["data"] == changed


def test_it_switches_deletes_restores_and_forgets(library: SimpleNamespace, alice: User) -> None:
    aliases, alias = library.aliases, issue(owner=alice)
    key = str(alias.uuid)

    aliases.deactivate_alias(key)
    assert aliases.get_specific_alias(key).json()["data"]["active"] is False
    assert aliases.activate_alias({"id": key}).json()["data"]["active"] is True
    aliases.delete_specific_alias(key)
    assert aliases.get_specific_alias(key).json()["data"]["deleted_at"]
    assert aliases.restore_specific_alias(key).json()["data"]["active"] is True
    aliases.forget_specific_alias(key)
    assert aliases.get_specific_alias(key).status_code == 404


def test_it_changes_many_at_once(library: SimpleNamespace, alice: User) -> None:
    ids = [str(issue(owner=alice).uuid) for _ in range(3)]
    bulk = library.bulk

    assert [row["id"] for row in bulk.get_aliases(ids).json()["data"]] == ids
    for call in (
        bulk.bulk_deactivate_aliases,
        bulk.bulk_activate_aliases,
        bulk.bulk_deleted_aliases,
        bulk.bulk_restore_aliases,
        bulk.bulk_forget_aliases,
    ):
        assert call(ids).json()["ids"] == ids
    assert not Alias.objects.owned_by(alice).exists()


def test_it_asks_about_domains_token_and_account(library: SimpleNamespace, alice: User) -> None:
    assert library.domain.get_all_domain_options().json()["data"] == ["example.com"]
    assert library.details.get_api_details().json()["name"] == "client"
    assert library.details.get_account_details().json()["data"]["username"] == alice.email
