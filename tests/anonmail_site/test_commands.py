"""The commands do what Mailu's command line does, and refuse in one sentence."""

import io
import os
import subprocess
import sys
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings
from django.core import mail
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from anonmail_site.management.commands.housekeeping import CHORES
from core.ratelimit import Counter
from domains.models import Audience, Domain
from tokens.models import Token


def run(name: str, *args: str) -> str:
    out = StringIO()
    call_command(name, *args, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_a_domain_is_created_with_all_its_settings(root: User) -> None:
    said = run(
        "create_domain", "Bücher.example", "--anonmail", "--everyone", "--quota=5", "--manager", root.email
    )

    domain = Domain.objects.get()
    assert "bücher.example, Anonmail is on" in said
    assert domain.name == "xn--bcher-kva.example"
    assert domain.audience == Audience.EVERYONE
    assert domain.alias_quota == 5
    assert list(domain.managers.all()) == [root]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["create_domain", "no domain"], "is not a valid domain name"),
        (["create_domain", "example.com"], "This domain exists already."),
        (["create_domain", "new.test", "--manager", "nobody@x.test"], "There is no user nobody@x.test."),
        (["set_anonmail", "unknown.test", "on"], "There is no domain unknown.test."),
        (["grant_access", "example.com", "nobody@x.test"], "There is no user nobody@x.test."),
        (["revoke_access", "example.com", "alice@example.com"], "holds no grant"),
        (["create_user", "alice@example.com"], "There is a user with this address already."),
        (["create_user", "nonsense"], "Enter a valid e-mail address."),
        (["create_token", "nobody@x.test", "t"], "There is no user nobody@x.test."),
        (["create_token", "alice@example.com", "t", "--network", "here"], "is not a valid network"),
        *[
            (
                ["create_token", "alice@example.com", "t", f"--days={days}"],
                "--days is a number from 1 to 36500",
            )
            for days in (0, -1, 10**9)
        ],
    ],
)
def test_a_command_refuses_in_one_sentence_and_changes_nothing(
    alice: User, command: list[str], sentence: str
) -> None:
    before = (Domain.objects.count(), User.objects.count(), Token.objects.count())

    with pytest.raises(CommandError, match=sentence):
        run(*command)

    assert (Domain.objects.count(), User.objects.count(), Token.objects.count()) == before


@pytest.mark.sqlite  # brings a database of its own, which is away
@pytest.mark.parametrize(
    "command",
    [
        ["create_token", "alice@example.com", "phone"],
        ["import_aliases", "--format", "simplelogin", "--user", "alice@example.com", "aliases.csv"],
        ["expire_aliases"],
        ["export_config"],
        ["import_config", "config.json"],
        ["prepare"],
    ],
    ids=lambda command: command[0],
)
def test_a_command_without_its_database_ends_in_one_sentence(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "aliases.csv").write_text("alias\n")
    (tmp_path / "config.json").write_text('{"format": "anonmail-config", "version": 1}')

    ended = manage(tmp_path, *command)

    assert ended.returncode == 1
    assert ended.stderr == "CommandError: The database cannot be used: unable to open database file.\n"


@pytest.mark.sqlite
def test_housekeeping_without_its_database_tries_every_chore_and_says_which_were_not_done(
    tmp_path: Path,
) -> None:
    ended = manage(tmp_path, "housekeeping")

    *lines, last = ended.stderr.splitlines()
    assert ended.returncode == 1
    assert [line.partition(" ")[0] for line in lines] == list(CHORES)
    assert last == f"CommandError: Not done: {', '.join(CHORES)}."


def manage(directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """What a command ends with where the database's file lies in a directory that is not there."""
    environment = {
        "PATH": os.environ["PATH"],
        "ENV_FILE": "",
        "VAR_DIR": str(directory / "var"),
        "SECRET_KEY": "k" * 60,
        "DATABASE_URL": f"sqlite:///{directory}/away/anonmail.sqlite3",
    }
    manage_py = Path(settings.BASE_DIR) / "manage.py"
    return subprocess.run(
        [sys.executable, str(manage_py), *command],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.django_db
def test_the_other_chores_do_not_wait_for_one_that_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def away() -> int:
        raise OperationalError("gone")

    monkeypatch.setattr("aliases.management.commands.expire_aliases.expire", away)

    with pytest.raises(CommandError, match=r"^Not done: expire_aliases\.$"):
        call_command("housekeeping")

    said = capsys.readouterr()
    assert said.err == "expire_aliases failed: The database cannot be used: gone.\n"
    assert "audit entries" in said.out


@pytest.mark.django_db
def test_the_toggle_is_switched(example_com: Domain) -> None:
    run("set_anonmail", "EXAMPLE.com", "off")
    example_com.refresh_from_db()
    assert not example_com.anonmail_enabled

    run("set_anonmail", "example.com", "on")
    example_com.refresh_from_db()
    assert example_com.anonmail_enabled


@pytest.mark.django_db
def test_access_is_granted_and_revoked(other_org: Domain, alice: User, root: User) -> None:
    run("grant_access", "other.org", "Alice@Example.com", "--by", root.email)

    assert other_org in Domain.objects.usable_by(alice)
    assert other_org.grants.get().granted_by == root

    run("revoke_access", "other.org", alice.email)

    assert other_org not in Domain.objects.usable_by(alice)


@pytest.mark.django_db
def test_a_user_gets_a_link_and_an_admin_may_have_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    said = run("create_user", "Bob@Example.com", "--name", "Bob")
    monkeypatch.setattr("sys.stdin", io.StringIO("a-long-enough-password\n"))
    run("create_admin", "boss@example.com", "--password-stdin")
    run("create_user", "carol@example.com", "--send-link")

    bob, boss = User.objects.get(email="bob@example.com"), User.objects.get(email="boss@example.com")
    assert "http://localhost:8000/accounts/password/reset/key/" in said
    assert bob.emailaddress_set.get().verified
    assert not bob.has_usable_password()
    assert not bob.is_superuser
    assert boss.is_superuser
    assert boss.check_password("a-long-enough-password")
    assert [message.to for message in mail.outbox] == [["carol@example.com"]]
    assert "/accounts/password/reset/key/" in mail.outbox[0].body


@pytest.mark.django_db
def test_a_weak_password_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))

    with pytest.raises(CommandError, match="too short"):
        run("create_admin", "boss@example.com", "--password-stdin")

    assert not User.objects.exists()


@pytest.mark.django_db
def test_a_token_is_printed_once_and_works(alice: User) -> None:
    key = run("create_token", alice.email, "script", "--days", "30").strip()

    answer = APIClient(HTTP_AUTHENTICATION=key).get("/api/user_info")

    assert answer.status_code == 200
    token = Token.objects.get()
    assert token.expires is not None
    assert timedelta(days=29) < token.expires - timezone.now() <= timedelta(days=30)
    assert token.digest not in key


@pytest.mark.django_db
def test_a_token_gets_the_rights_that_are_asked_for(alice: User) -> None:
    run("create_token", alice.email, "least")
    run("create_token", alice.email, "app", "--scopes", "create, manage,activity")
    for words in ("", "reply", "create,everything"):
        with pytest.raises(CommandError, match=r"The rights are: create, manage, activity, send\."):
            run("create_token", alice.email, "wrong", "--scopes", words)

    rights = {token.name: token.rights.words for token in Token.objects.all()}
    assert rights == {"least": ["create"], "app": ["create", "manage", "activity"]}


@pytest.mark.django_db
def test_aliases_deleted_long_ago_are_stripped_and_others_stay(alice: User) -> None:
    old, fresh, kept = (issue(owner=alice) for _ in range(3))
    old.soft_delete()
    fresh.soft_delete()
    Alias.objects.filter(pk=old.pk).update(deleted_at=timezone.now() - timedelta(days=31))

    said = run("purge_deleted_aliases")

    assert "Stripped 1 aliases" in said
    assert list(Alias.objects.stripped()) == [old]
    assert set(Alias.objects.owned_by(alice)) == {fresh, kept}


@pytest.mark.django_db
def test_counters_of_past_periods_are_pruned() -> None:
    Counter.objects.create(scope="old", key="k", count=1, expires=timezone.now() - timedelta(seconds=1))
    Counter.objects.create(scope="new", key="k", count=1, expires=timezone.now() + timedelta(hours=1))

    run("prune_counters")

    assert [counter.scope for counter in Counter.objects.all()] == ["new"]
