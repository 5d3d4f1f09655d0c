"""PyPI's command-line client simplelogincmd, unmodified, against the running server: all of its commands."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from django.core import mail
from django.utils import timezone
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from contacts.models import Contact
from mail.models import Activity, Event
from tokens.models import Token

pytestmark = pytest.mark.django_db(transaction=True)

Run = Callable[..., str]

# The client has no setting for the server: a constant of a module is changed before it starts.
START = """
import sys
from simplelogincmd.rest import const
const.BASE_URL = sys.argv.pop(1)
from simplelogincmd.cli.main import cli
cli()
"""


@pytest.fixture
def run(installed: Callable[[str, str], Path], live_server: LiveServer, tmp_path: Path) -> Run:
    """Runs a command as `simplelogin …` would; gives what it printed. Nobody is signed in."""
    home = installed("simplelogincmd", "simplelogincmd/cli/main.py").parents[2]
    environment = os.environ | {
        "PYTHONPATH": str(home),
        "XDG_CONFIG_HOME": str(tmp_path),
        "PYTHONIOENCODING": "utf-8",
    }

    def command(*arguments: object, typed: str = "") -> str:
        result = subprocess.run(
            [sys.executable, "-c", START, live_server.url, *map(str, arguments)],
            env=environment,
            input=typed,
            capture_output=True,
            text=True,
            timeout=300,
            start_new_session=True,  # so that it asks for a code here, and not at a terminal
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    return command


@pytest.fixture
def keyed(run: Run, key: str) -> Run:
    """The same, with a token that its configuration holds."""
    run("config", "api.api-key", key)
    return run


def stored_key(directory: Path) -> str:
    """The token in the client's configuration."""
    (file,) = directory.glob("*/config.json")
    return str(json.loads(file.read_text())["api"]["api-key"])


def test_it_signs_in_and_out(run: Run, alice: User, tmp_path: Path) -> None:
    wrong = run("account", "login", "-e", alice.email, "-p", "wrong")
    run("account", "login", "-e", alice.email, "-p", "alice-password-1")
    token = Token.objects.get(owner=alice)

    assert wrong == "Email or password incorrect\n"
    assert token.name == "SimpleLogin CLI (signed in)"
    assert stored_key(tmp_path) != ""
    assert "alice@example.com" in run("mailbox", "list")
    run("account", "logout")
    assert stored_key(tmp_path) == ""
    assert not Token.objects.filter(pk=token.pk).exists()


def test_it_signs_in_with_a_second_factor(run: Run, alice: User, settings: Settings) -> None:
    settings.MFA_TOTP_TOLERANCE = 1  # the code's half minute may end meanwhile
    code = ""
    while not code.startswith("0"):
        secret = generate_totp_secret()
        code = format_hotp_value(hotp_value(secret, int(timezone.now().timestamp()) // 30))
    TOTP.activate(alice, secret)

    # It sends what is typed as a number, without the zeros before it.
    run("account", "login", "-e", alice.email, "-p", "alice-password-1", typed=f"{code}\n")

    assert Token.objects.get(owner=alice).name == "SimpleLogin CLI (signed in)"
    assert "alice@example.com" in run("mailbox", "list")


def test_it_makes_aliases(keyed: Run, alice: User) -> None:
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)

    bare = keyed("alias", "random").strip()
    noted = keyed("alias", "random", "--word", "-o", "www.github.com", "-n", "from the client").strip()
    uuid = keyed("alias", "random", "--uuid").strip()
    # It has not listed the mailboxes yet, and sends the id as the text that was typed.
    custom = keyed(
        *("alias", "custom", "-p", "my-shop", "-m", home.pk, "-s", "0", "-n", "n", "-a", "Alice"),
        *("-o", "shop.test", "-y"),
    )
    suggested = keyed("alias", "custom", "-m", home.pk, "-s", "0", "-o", "bank.test", "-y")
    again = keyed("alias", "custom", "-p", "my-shop", "-m", home.pk, "-s", "0", "-o", "shop.test", "-y")
    theirs = keyed("alias", "custom", "-p", "other", "-m", home.pk + 1000, "-s", "0", "-y")

    assert {bare, noted, uuid} <= set(Alias.objects.values_list("address", flat=True))
    assert Alias.objects.get(address=noted).hostname == "www.github.com"
    assert Alias.objects.get(address=noted).note == "from the client"
    assert custom == "my-shop@example.com\n"
    alias = Alias.objects.get(address="my-shop@example.com")
    assert (alias.note, alias.name, alias.hostname) == ("n", "Alice", "shop.test")
    assert [row.email for row in alias.destinations.all()] == ["alice@home.test"]
    assert suggested == "bank@example.com\n"
    assert again == (
        "my-shop@example.com has already been used on shop.test.\n"
        "This address is taken. Choose another name.\n"
    )
    assert theirs == "Errors with Mailbox: it is not one of your verified addresses.\n"
    assert Alias.objects.count() == 5


def test_it_lists_and_shows_aliases(keyed: Run, alice: User) -> None:
    aliases = [issue(owner=alice, note=f"note {number}") for number in range(21)]
    aliases[3].disable()
    aliases[4].change(pinned=True)

    def ids(*arguments: str) -> set[int]:
        return {int(line) for line in keyed("alias", "list", "--no-header", "-i", "id", *arguments).split()}

    assert ids() == {alias.pk for alias in aliases}
    assert ids("--disabled") == {aliases[3].pk}
    assert ids("--pinned") == {aliases[4].pk}
    assert ids("--enabled") == {alias.pk for alias in aliases} - {aliases[3].pk}
    alias = aliases[4]
    fields = "id,email,note,enabled,nb_forward,mailboxes,pinned"
    assert keyed("alias", "get", alias.pk, "--no-header", "-i", fields) == (
        f"{alias.pk}|{alias.address}|note 4|Y|0|alice@example.com|Y\n"
    )
    # By its address, from the copy that the client has kept.
    assert keyed("alias", "get", alias.address, "--no-header", "-i", "id") == f"{alias.pk}\n"
    assert keyed("alias", "get", alias.pk + 1000) == "There is no such alias.\n"


def test_it_changes_toggles_and_deletes_an_alias(keyed: Run, alice: User) -> None:
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    primary = EmailAddress.objects.get(user=alice, primary=True)
    alias = issue(owner=alice)

    changed = keyed(
        *("alias", "update", alias.pk, "-n", "new note", "-a", "Alice", "--pinned", "--disable-pgp"),
        *("-m", home.pk, "-m", primary.pk),
    )

    assert changed == ""
    alias.refresh_from_db()
    assert (alias.note, alias.name, alias.pinned) == ("new note", "Alice", True)
    assert {row.email for row in alias.destinations.all()} == {"alice@example.com", "alice@home.test"}
    assert keyed("alias", "toggle", alias.pk) == "Disabled\n"
    alias.refresh_from_db()
    assert not alias.enabled
    assert keyed("alias", "toggle", alias.pk) == "Enabled\n"
    assert keyed("alias", "delete", "-y", alias.pk) == ""
    assert not Alias.objects.present().exists()
    assert keyed("alias", "delete", "-y", alias.pk) == "There is no such alias.\n"


def test_it_shows_activity(keyed: Run, alice: User) -> None:
    alias = issue(owner=alice)
    assert keyed("alias", "activity", alias.pk) == "No activities found\n"
    for number in range(21):
        Activity.objects.create(alias=alias, event=Event.FORWARD, sender=f"eve-{number}@sender.test")
    Activity.objects.create(alias=alias, event=Event.BLOCK, sender="mallory@sender.test")

    lines = keyed("alias", "activity", alias.pk, "--no-header", "-i", "action,timestamp").split()

    latest = alias.activities.get(event=Event.BLOCK)
    assert lines[0] == f"block|{int(latest.moment.timestamp())}"
    assert [line.partition("|")[0] for line in lines[1:]] == ["forward"] * 21


def test_it_adds_and_lists_mailboxes(keyed: Run, alice: User) -> None:
    made = keyed("mailbox", "create", "-e", "alice@home.test")
    twice = keyed("mailbox", "create", "-e", "no address")

    home = EmailAddress.objects.get(user=alice, email="alice@home.test")
    assert made == "A verification email has been sent to alice@home.test.\n"
    assert mail.outbox[0].to == ["alice@home.test"]
    assert "valid" in twice
    primary = EmailAddress.objects.get(user=alice, primary=True)
    fields = ("--no-header", "-i", "id,email,nb_alias,verified,default")
    assert keyed("mailbox", "list", *fields) == f"{primary.pk}|alice@example.com|0|Y|Y\n"
    home.verified = True
    home.save()
    assert f"{home.pk}|alice@home.test|0|Y|N\n" in keyed("mailbox", "list", *fields)


def test_it_asks_at_a_wrong_path_to_change_a_mailbox_and_is_told_so(keyed: Run, alice: User) -> None:
    """It names the mailbox in the query, which SimpleLogin's own server does not serve either."""
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)

    assert keyed("mailbox", "update", "--default", home.pk) == "This method is not allowed here.\n"
    assert keyed("mailbox", "delete", "-y", home.pk) == "This method is not allowed here.\n"
    home.refresh_from_db()
    assert not home.primary


def test_it_makes_blocks_and_deletes_contacts(keyed: Run, alice: User) -> None:
    alias = issue(owner=alice)

    assert keyed("alias", "contact", "list", alias.pk) == "No contacts found\n"
    made = keyed("alias", "contact", "create", alias.pk, "-e", "eve@sender.test")
    contact = Contact.objects.get()
    assert made == f"{contact.reverse_address}\n"
    assert keyed("alias", "contact", "create", alias.pk, "-e", "eve@sender.test") == made
    assert "eve@sender.test" in keyed("alias", "contact", "list", alias.pk)
    assert keyed("alias", "contact", "toggle", contact.pk) == "Blocked\n"
    assert keyed("alias", "contact", "toggle", contact.pk) == "Unblocked\n"
    keyed("alias", "contact", "delete", "-y", contact.pk)
    assert not Contact.objects.exists()


def test_it_keeps_a_copy_of_everything(keyed: Run, alice: User) -> None:
    alias = issue(owner=alice, note="the shop")

    synced = keyed("database", "sync")

    assert "Retrieving aliases... Done" in synced
    assert "Local database synced successfully." in synced
    assert keyed("alias", "get", "the shop", "--no-header", "-i", "id") == f"{alias.pk}\n"
    assert keyed("database", "delete") == ""
