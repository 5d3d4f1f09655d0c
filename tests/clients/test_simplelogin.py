"""PyPI's command-line client simplelogin, unmodified, against the running server: all of its commands."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from allauth.account.models import EmailAddress
from pytest_django.live_server_helper import LiveServer

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from contacts.models import Contact
from domains.models import Domain
from mail.models import Activity, Event

pytestmark = pytest.mark.django_db(transaction=True)

Run = Callable[..., str]

# The client has no setting for the server: a constant of its module is changed before it starts.
# The module is loaded by its path: another client has its import name.
START = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("simplelogin_cli", sys.argv.pop(1))
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.BASE_URL = sys.argv.pop(1)
module.main()
"""


@pytest.fixture
def run(installed: Callable[[str, str], Path], live_server: LiveServer, key: str, tmp_path: Path) -> Run:
    """Runs a command as `simplelogin …` would; gives what it printed."""
    path = installed("simplelogin", "simplelogin/cli.py")
    environment = os.environ | {
        "SIMPLELOGIN_CONFIG": str(tmp_path / "config.yaml"),
        "XDG_CONFIG_HOME": str(tmp_path),
        "PYTHONIOENCODING": "utf-8",
    }

    def command(*arguments: object, typed: str = "") -> str:
        result = subprocess.run(
            [sys.executable, "-c", START, path, live_server.url, *map(str, arguments)],
            env=environment,
            input=typed,
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
        assert result.stderr == ""
        return result.stdout

    (tmp_path / "config.yaml").write_text("{}")
    assert "saved" in command("config", "set-key", key)
    assert key[:4] in command("config", "view")
    return command


def test_it_makes_aliases(run: Run, alice: User) -> None:
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)

    word = run("aliases", "create", "random", "--mode=word", "--note=from the client")
    uuid = run("aliases", "create", "random", "--mode=uuid")
    plain = run("aliases", "create", "random")
    custom = run(
        *("aliases", "create", "custom", "my-shop", "0"),
        *(f"--mailboxes={home.pk}", "--note=n", "--name=Alice"),
    )
    taken = run("aliases", "create", "custom", "my-shop", "0", f"--mailboxes={home.pk}")

    made = Alias.objects.get(note="from the client")
    assert f"Random alias created: {made.address}\n  ID: {made.pk}" in word
    assert re.search(r"created: [0-9a-f-]{36}@example\.com", uuid)
    assert "Random alias created: " in plain
    alias = Alias.objects.get(address="my-shop@example.com")
    assert f"Custom alias created: my-shop@example.com\n  ID: {alias.pk}" in custom
    assert (alias.note, alias.name) == ("n", "Alice")
    assert [row.email for row in alias.destinations.all()] == ["alice@home.test"]
    assert "Status code: 409\nError message: This address is taken. Choose another name." in taken
    assert Alias.objects.count() == 4


def test_it_lists_and_shows_aliases(run: Run, alice: User) -> None:
    shop = issue(owner=alice, note="the shop")
    bank = issue(owner=alice)
    bank.disable()
    bank.change(pinned=True)
    Activity.objects.create(alias=shop, event=Event.BLOCK, sender="eve@sender.test")

    everything = run("aliases", "list")
    shown = run("aliases", "info", shop.pk)

    assert shop.address in everything
    assert bank.address in everything
    assert "block (" in everything
    for arguments, only in (
        (["--query=the shop"], shop),
        (["--enabled"], shop),
        (["--disabled"], bank),
        (["--pinned"], bank),
    ):
        assert re.findall(r"\S+@example\.com", run("aliases", "list", *arguments))[::2] == [only.address]
    assert "No aliases found." in run("aliases", "list", "--page=1")
    assert f"Alias: {shop.address}\nID: {shop.pk}\n" in shown
    assert "Enabled: Yes\nNote: the shop" in shown
    primary = EmailAddress.objects.get(user=alice)
    assert f"Mailboxes:\n  - alice@example.com (ID: {primary.pk})" in shown


def test_it_toggles_and_deletes_an_alias(run: Run, alice: User) -> None:
    alias = issue(owner=alice)

    assert f"{alias.address} is now disabled" in run("aliases", "toggle", alias.pk)
    alias.refresh_from_db()
    assert not alias.enabled
    assert "cancelled" in run("aliases", "delete", alias.pk, typed="n\n")
    assert Alias.objects.present().exists()
    assert "deleted successfully" in run("aliases", "delete", alias.pk, typed="y\n")
    assert not Alias.objects.present().exists()
    assert "Status code: 404" in run("aliases", "info", alias.pk)


def test_it_reads_mailboxes_and_domains(run: Run, alice: User, example_com: Domain) -> None:
    issue(owner=alice)

    mailboxes = run("mailboxes", "list")
    domains = run("domains", "list")
    one = run("domains", "info", example_com.pk)

    assert "alice@example.com" in mailboxes
    assert re.search(r"\| example\.com +\| ✓ +\| ✗ +\| +1 \|", domains)
    assert f"Domain: example.com\nID: {example_com.pk}\n" in one
    assert "Verified: Yes\nCatch-all: Disabled\n" in one
    assert "Linked mailboxes:\n  - alice@example.com" in one


def test_it_makes_blocks_and_deletes_contacts(run: Run, alice: User) -> None:
    alias = issue(owner=alice)

    assert "No contacts found." in run("contacts", "list", alias.pk)
    made = run("contacts", "create", alias.pk, "eve@sender.test")
    contact = Contact.objects.get()
    assert "✓ Contact created" in made
    assert f'Reverse alias: "eve at sender.test" <{contact.reverse_address}>' in made
    assert "Contact already exists." in run("contacts", "create", alias.pk, "eve@sender.test")
    Contact.objects.update(last_reply_at=datetime(2026, 11, 25, 8, 30, tzinfo=UTC))
    assert "2026-11-25 08:30:00" in run("contacts", "list", alias.pk)
    assert "Contact has been blocked" in run("contacts", "toggle", contact.pk)
    assert "Contact has been unblocked" in run("contacts", "toggle", contact.pk)
    assert "✓ Contact deleted successfully" in run("contacts", "delete", contact.pk)
    assert not Contact.objects.exists()
