"""`manage.py import_aliases`: what it prints, makes and refuses."""

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.core.management import CommandError, call_command

from accounts.models import User
from aliases.models import Alias
from core.audit import AuditEntry
from domains.models import Domain
from tests.transfer.samples import MAILU_YAML, SIMPLELOGIN_CSV
from tests.transfer.test_server_views import WRONG
from transfer.formats import ADDY, ANONMAIL, MAILU, SIMPLELOGIN

pytestmark = pytest.mark.django_db

Import = Callable[..., str]


@pytest.fixture
def import_aliases(tmp_path: Path) -> Import:
    """Runs the command on a file with this text, and returns what it printed."""

    def run(text: str, **options: Any) -> str:
        file = tmp_path / "aliases"
        file.write_bytes(text.encode())
        out = StringIO()
        call_command("import_aliases", str(file), stdout=out, **{"yes": True, **options})
        return out.getvalue()

    return run


def test_it_shows_and_makes_a_persons_aliases(alice: User, import_aliases: Import) -> None:
    EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)

    said = import_aliases(SIMPLELOGIN_CSV, format=SIMPLELOGIN, user="Alice@Example.com")

    assert said.splitlines() == [
        "shop.one@example.com of alice@example.com to alice@example.com, alice@home.test",
        "off@example.com of alice@example.com to alice@example.com, disabled",
        "bare@example.com of alice@example.com to the primary address",
        "Imported 3 aliases.",
    ]
    assert Alias.objects.owned_by(alice).count() == 3
    entry = AuditEntry.objects.get()
    assert entry.action == "command.import_aliases"
    assert entry.detail == "format=simplelogin, user=Alice@Example.com, aliases=3"


def test_it_lists_what_is_wrong_with_its_line(alice: User, import_aliases: Import) -> None:
    with pytest.raises(CommandError) as refusal:
        import_aliases(SIMPLELOGIN_CSV + "root@example.com,,True,\n", format=SIMPLELOGIN, user=alice.email)

    assert str(refusal.value) == (
        "Nothing was imported:\n"
        "  line 2: shop.one@example.com: alice@home.test is not a verified address of the alias's owner.\n"
        "  line 6: root@example.com: This name is reserved.\n"
        "Correct the file, or add --leave-out-wrong."
    )
    assert not Alias.objects.exists()
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize("answer", ["", "n", "nonsense", None])
def test_without_a_yes_nothing_is_made(
    alice: User, import_aliases: Import, monkeypatch: pytest.MonkeyPatch, answer: str | None
) -> None:
    asked = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        if answer is None:
            raise EOFError
        return answer

    monkeypatch.setattr("builtins.input", ask)

    with pytest.raises(CommandError, match="Nothing was imported"):
        import_aliases("alias\na@example.com\n", format=SIMPLELOGIN, user=alice.email, yes=False)

    assert asked == ["Make 1 alias? [y/N] "]
    assert not Alias.objects.exists()


def test_with_a_yes_they_are_made(
    alice: User, import_aliases: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda prompt: "y")

    import_aliases("alias\na@example.com\n", format=SIMPLELOGIN, user=alice.email, yes=False)

    assert Alias.objects.get().owner == alice


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"format": SIMPLELOGIN}, "Say whose"),
        ({"format": ANONMAIL, "user": "nobody@example.com"}, "There is no user"),
        ({"format": ADDY, "user": "alice@example.com", "create_users": True}, "are for --format mailu"),
        ({"format": ADDY, "user": "alice@example.com"}, "must name the column “email”"),
        ({"format": MAILU}, "not a file of Mailu"),
    ],
)
def test_what_it_cannot_do_it_says(
    alice: User, import_aliases: Import, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(CommandError, match=sentence):
        import_aliases("address\na@example.com\n", **options)


def test_a_file_that_is_not_there_is_told(alice: User, tmp_path: Path) -> None:
    for file, sentence in ((str(tmp_path / "missing"), "cannot be read"), ("-", "add --yes")):
        with pytest.raises(CommandError, match=sentence):
            call_command("import_aliases", file, format=SIMPLELOGIN, user=alice.email)


def test_a_file_of_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "large"
    with file.open("wb") as opened:
        opened.truncate(2**30)

    with pytest.raises(CommandError, match="at most 10 MB"):
        call_command("import_aliases", str(file), format=MAILU, yes=True)


def test_a_mailu_server_moves_in(import_aliases: Import) -> None:
    said = import_aliases(MAILU_YAML, format=MAILU, create_domains=True, create_users=True)

    assert "New domain example.com, Anonmail is on.\n" in said
    assert "New domain other.org, Anonmail is off.\n" in said
    assert "New user alice@example.com.\n" in said
    assert "New user old@example.com, deactivated.\n" in said
    assert "everybody@example.com: It belongs to nobody" in said
    assert said.endswith("Imported 2 aliases.\n")
    alice = User.objects.get(email="alice@example.com")
    assert (alice.name, alice.has_usable_password(), alice.is_superuser) == ("Alice", False, False)
    assert not User.objects.get(email="old@example.com").is_active
    anonymous, standard = Alias.objects.owned_by(alice).with_destinations().order_by("address")
    assert (anonymous.address, anonymous.hostname) == ("github.word@example.com", "github.com")
    assert (anonymous.note, anonymous.enabled) == ("Website: github.com", False)
    assert (standard.address, standard.note) == ("sales.team@example.com", "one person's")
    assert [row.email for row in standard.destination_addresses] == ["alice@example.com"]
    # It has mailboxes: whoever chooses a name there gets a random ending.
    assert Domain.objects.get(name="example.com").is_shared
    assert not Domain.objects.get(name="other.org").is_shared


def test_a_wrong_row_of_mailus_takes_back_domains_and_users(import_aliases: Import) -> None:
    text = MAILU_YAML.replace("github.word@", "postmaster@")

    with pytest.raises(CommandError) as refusal:
        import_aliases(text, format=MAILU, create_domains=True, create_users=True)

    line = text.splitlines().index("  - email: postmaster@example.com") + 1
    assert f"line {line}: postmaster@example.com: This name is reserved." in str(refusal.value)
    assert not User.objects.exists()
    assert not Domain.objects.exists()


def test_without_the_flags_domains_and_users_must_be_here(alice: User, import_aliases: Import) -> None:
    text = json.dumps(
        {
            "alias": [
                {"email": "a@example.com", "owner_email": "alice@example.com"},
                {"email": "b@new.test", "owner_email": "alice@example.com"},
                {"email": "c@example.com", "owner_email": "new@example.com"},
            ],
            "domain": [{"name": "new.test"}],
            "user": [{"email": "new@example.com"}],
        }
    )

    with pytest.raises(CommandError) as refusal:
        import_aliases(text, format=MAILU)

    assert str(refusal.value).splitlines()[1:] == [
        "  entry 2: b@new.test: There is no domain new.test here with the Anonymous Email Service on.",
        "  entry 3: c@example.com: There is no user new@example.com here.",
        "Correct the file, or add --leave-out-wrong.",
    ]


def test_of_a_mailu_server_one_persons_aliases_can_be_taken(alice: User, import_aliases: Import) -> None:
    aliases = [
        {"email": "a@example.com", "owner_email": "alice@example.com"},
        {"email": "b@example.com", "owner_email": "new@example.com"},
    ]

    said = import_aliases(json.dumps({"alias": aliases}), format=MAILU, user=alice.email)

    assert said.endswith("Imported 1 alias.\n")
    assert Alias.objects.get().address == "a@example.com"


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"domain": [{"name": "no domain"}]}, "entry 1: no domain:"),
        ({"user": [{"email": "no address"}]}, "entry 1: no address: Enter a valid e-mail address."),
        (
            {"user": [{"email": "x@a.test"}, {"email": "X@a.test"}]},
            "entry 2: X@a.test: There is a user with this address already.",
        ),
    ],
)
def test_a_domain_or_user_that_cannot_be_made_is_told(
    import_aliases: Import, document: dict[str, Any], sentence: str
) -> None:
    text = json.dumps({"alias": [], **document})

    with pytest.raises(CommandError) as refusal:
        import_aliases(text, format=MAILU, create_domains=True, create_users=True)

    assert sentence in str(refusal.value)
    assert not User.objects.exists()
    assert not Domain.objects.exists()


def test_what_is_no_text_in_a_domains_comment_is_replaced(import_aliases: Import) -> None:
    document = {"alias": [], "domain": [{"name": "a.test", "comment": "one\ntwo\x00\ud800"}]}

    import_aliases(json.dumps(document), format=MAILU, create_domains=True)

    assert Domain.objects.get().comment == "one\ntwo��"


def test_what_is_no_text_reaches_no_terminal(import_aliases: Import) -> None:
    document = {"alias": [{"email": "\x1b]0;x\x07%@a.test", "wildcard": True}]}

    said = import_aliases(json.dumps(document), format=MAILU)

    assert said.startswith("Left out, entry 1: �]0;x�%@a.test: A pattern is not an address.\n")


def test_what_somebody_else_made_in_the_same_moment_is_told(
    import_aliases: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*args: Any, **fields: Any) -> User:
        Domain.objects.create(name="a.test")
        raise AssertionError("the domain was made twice")

    monkeypatch.setattr(type(User.objects), "create_user", late)
    document = {"alias": [], "domain": [{"name": "a.test"}], "user": [{"email": "x@a.test"}]}

    with pytest.raises(CommandError) as refusal:
        import_aliases(json.dumps(document), format=MAILU, create_domains=True, create_users=True)

    assert str(refusal.value) == "Nothing was imported:\n  Something changed at the same moment. Try again."
    assert not Domain.objects.exists()


def test_what_is_wrong_is_left_out_at_a_word_and_told(alice: User, import_aliases: Import) -> None:
    text = SIMPLELOGIN_CSV + "root@example.com,,True,\n-bad.gamma@example.com,,perhaps,\n"

    said = import_aliases(text, format=SIMPLELOGIN, user=alice.email, leave_out_wrong=True)

    assert said.splitlines()[:3] == [
        "Left out, line 2: shop.one@example.com: "
        "alice@home.test is not a verified address of the alias's owner.",
        "Left out, line 6: root@example.com: This name is reserved.",
        "Left out, line 7: -bad.gamma@example.com: "
        "“perhaps” in the column enabled is neither true nor false.",
    ]
    assert said.splitlines()[-1] == "Imported 2 aliases."


@pytest.mark.parametrize("only", [None, "alice@example.com"])
def test_what_is_wrong_in_a_servers_file_is_left_out_too(
    alice: User, import_aliases: Import, only: str | None
) -> None:
    text = json.dumps(WRONG)
    options = {"format": MAILU, "user": only, "create_users": only is None}

    with pytest.raises(CommandError, match="add --leave-out-wrong"):
        import_aliases(text, **options)
    said = import_aliases(text, **options, leave_out_wrong=True)

    told = [line for line in said.splitlines() if line.startswith("Left out, entry")]
    assert any("-bad.gamma@example.com" in line for line in told)
    assert any("postmaster@example.com: This name is reserved." in line for line in told)
    assert len(told) == (5 if only is None else 2)
    assert [alias.address for alias in Alias.objects.all()] == ["fine.word@example.com"]


def test_where_all_is_wrong_there_is_nothing_to_import(alice: User, import_aliases: Import) -> None:
    with pytest.raises(CommandError, match="There are no aliases in the file"):
        import_aliases(
            "alias\nroot@example.com\n", format=SIMPLELOGIN, user=alice.email, leave_out_wrong=True
        )
