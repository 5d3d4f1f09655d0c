"""The pages of an import of a whole Mailu server's file, which are for global admins."""

import json
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test import Client

from accounts.models import User
from aliases.issuing import issue_chosen
from aliases.models import Alias
from core.audit import AuditEntry
from domains.models import Domain
from tests.rig.pages import HTMX
from tests.transfer.samples import MAILU_YAML
from transfer import importing
from transfer.importing import OnlyAdmins, make_pending
from transfer.models import PendingImport, State

pytestmark = pytest.mark.django_db

URL = "/aliases/import/"
BOTH = {"create_domains": "on", "create_users": "on"}
ONLY_ADMINS = "Only a global admin can import a whole server&#x27;s file."


def upload(client: Client, document: str | dict[str, Any]) -> HttpResponse:
    text = document if isinstance(document, str) else json.dumps(document)
    return client.post(URL, {"file": SimpleUploadedFile("mailu.yml", text.encode())}, follow=True)  # type: ignore[return-value]


def check(client: Client, document: str | dict[str, Any], choices: dict[str, str] = BOTH) -> str:
    """The page after the file was sent and checked."""
    assert upload(client, document).status_code == 200
    return client.post(f"{URL}check/", choices, follow=True).content.decode()


def make(client: Client) -> str:
    return client.post(f"{URL}make/", follow=True).content.decode()


def world() -> tuple[int, int, int]:
    """How many domains, users and aliases there are."""
    return Domain.objects.count(), User.objects.count(), Alias.objects.count()


def test_the_admin_is_asked_what_to_make(boss: Client) -> None:
    page = upload(boss, MAILU_YAML).content.decode()

    assert "In the file: 2 domains, 2 users, 6 aliases." in page
    assert "Create missing domains" in page
    assert "Create missing users" in page
    assert " checked>" not in page
    assert PendingImport.objects.get().state == State.CHOOSING


def test_the_preview_shows_everything_and_writes_nothing(boss: Client) -> None:
    before = world()

    page = check(boss, MAILU_YAML)

    assert world() == before
    assert "2 new domains" in page
    assert "2 new users" in page
    rows = [" ".join(row.split()) for row in page.split("<li>")[1:]]
    domains = {
        row.split("</span>")[0]: "Service on" in row for row in rows if "Anonymous Email Service" in row
    }
    assert domains == {
        '<span class="address">example.com': True,
        '<span class="address">other.org': False,
    }
    deactivated = [row for row in rows if "deactivated" in row]
    assert len(deactivated) == 1
    assert "old@example.com" in deactivated[0]
    (github,) = [row for row in rows if "github.word@example.com" in row]
    for words in ("Disabled", "Owner: alice@example.com", "Forwards to: alice@example.com"):
        assert words in github
    assert "Website: github.com" in github
    assert "4 entries are skipped" in page
    assert "A pattern is not an address." in page
    assert "Its destination is not a user of that server." in page
    assert page.count(" checked>") == 2
    assert "Import everything" in page


def test_with_the_word_to_go_on_all_of_it_is_made(boss: Client) -> None:
    check(boss, MAILU_YAML)

    page = make(boss)

    assert "Imported: 2 new domains, 2 new users, 2 aliases." in page
    assert 'type="file"' in page
    assert not PendingImport.objects.exists()
    alice = User.objects.get(email="alice@example.com")
    assert set(Alias.objects.owned_by(alice).values_list("address", flat=True)) == {
        "github.word@example.com",
        "sales.team@example.com",
    }
    assert not User.objects.get(email="old@example.com").is_active
    assert set(Domain.objects.values_list("name", "anonmail_enabled")) == {
        ("example.com", True),
        ("other.org", False),
    }


def test_the_audit_says_who_imported_what_from_where(boss: Client, root: User) -> None:
    check(boss, MAILU_YAML)
    make(boss)

    entry = AuditEntry.objects.get()

    assert (entry.actor, entry.action, entry.remote_address) == (root, "alias.import", "127.0.0.1")
    assert entry.detail == (
        "format=mailu, create_domains=True, create_users=True, domains=2, users=2, aliases=2"
    )


def test_a_wrong_row_refuses_all_of_it(boss: Client) -> None:
    text = MAILU_YAML.replace("github.word@", "postmaster@")
    line = text.splitlines().index("  - email: postmaster@example.com") + 1
    before = world()

    page = check(boss, text)
    make(boss)

    assert "1 row has an error." in page
    assert f'<span class="muted">Line {line}</span>' in page
    assert '<span class="address">postmaster@example.com</span>' in page
    assert "This name is reserved." in page
    assert "4 entries are skipped" in page
    assert "new users" not in page
    assert "Import everything" not in page
    assert world() == before
    assert not AuditEntry.objects.exists()


def test_what_is_not_checked_is_not_made(boss: Client) -> None:
    before = world()
    upload(boss, MAILU_YAML)

    make(boss)

    assert world() == before


def test_without_the_choices_domains_and_users_must_be_here(boss: Client) -> None:
    document = {
        "alias": [
            {"email": "a@new.test", "owner_email": "root@admin.test"},
            {"email": "b@new.test", "owner_email": "new@new.test"},
        ],
        "domain": [{"name": "new.test"}],
        "user": [{"email": "new@new.test"}],
    }

    wrong = check(boss, document, {})
    right = boss.post(f"{URL}check/", BOTH, follow=True).content.decode()

    assert "There is no domain new.test here with the Anonymous Email Service on." in wrong
    assert "There is no user new@new.test here." in wrong
    # JSON may be all one line.
    assert '<span class="muted">Entry 1</span>' in wrong
    assert "2 aliases" in right
    assert "Import everything" in right


def test_what_changed_since_the_check_refuses_all_of_it(boss: Client, alice: User) -> None:
    document = {
        "alias": [{"email": "a@example.com", "owner_email": alice.email}],
        "domain": [{"name": "new.test"}],
        "user": [{"email": "new@new.test"}],
    }
    check(boss, document)
    issue_chosen(owner=alice, prefix="a")
    before = world()

    page = make(boss)

    assert "This alias already exists here." in page
    assert "The check stopped there" not in page
    assert world() == before


def test_anybody_else_is_refused_and_nothing_is_kept(browser: Client) -> None:
    for document in (MAILU_YAML, {"alias": []}):
        answer = upload(browser, document)

        assert answer.status_code == 403
        assert ONLY_ADMINS in answer.content.decode()
    assert not PendingImport.objects.exists()
    page = browser.get(URL).content.decode()
    assert "Mailu" not in page


@pytest.mark.parametrize("path", ["make/", "check/"])
def test_who_ceased_to_be_an_admin_imports_nothing(boss: Client, root: User, path: str) -> None:
    check(boss, MAILU_YAML)
    User.objects.filter(pk=root.pk).update(is_superuser=False)
    before = world()

    page = boss.post(f"{URL}{path}", BOTH, follow=True).content.decode()

    assert ONLY_ADMINS in page
    assert 'type="file"' in page
    assert world() == before
    assert not PendingImport.objects.exists()


def test_who_ceased_to_be_an_admin_sees_the_file_no_more(boss: Client, root: User) -> None:
    check(boss, MAILU_YAML)
    User.objects.filter(pk=root.pk).update(is_superuser=False)

    page = boss.get(URL).content.decode()

    assert "github.word@example.com" not in page
    assert not PendingImport.objects.exists()


@pytest.mark.parametrize("change", [{"is_superuser": False}, {"is_active": False}])
def test_rights_are_looked_at_where_it_is_written(
    boss: Client, root: User, monkeypatch: pytest.MonkeyPatch, change: dict[str, bool]
) -> None:
    """They may go away after the request was let in."""
    check(boss, MAILU_YAML)
    pending = PendingImport.objects.get()
    User.objects.filter(pk=root.pk).update(**change)
    before = world()

    with pytest.raises(OnlyAdmins):
        make_pending(pending)

    assert world() == before


def test_rights_that_go_away_in_the_same_moment_are_told(
    boss: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(pending: PendingImport) -> None:
        raise OnlyAdmins()

    check(boss, MAILU_YAML)
    monkeypatch.setattr("transfer.importing.make_pending", refuse)

    assert ONLY_ADMINS in make(boss)
    assert not AuditEntry.objects.exists()


def test_another_admin_neither_sees_nor_imports_the_file(boss: Client) -> None:
    check(boss, MAILU_YAML)
    before = world()
    second = Client()
    second.force_login(User.objects.create_superuser("second@admin.test"))

    page = second.get(URL).content.decode()
    second.post(f"{URL}check/", BOTH)
    second.post(f"{URL}make/")
    second.post(f"{URL}cancel/")

    assert "github.word@example.com" not in page
    assert PendingImport.objects.count() == 1
    assert world() == (before[0], before[1] + 1, before[2])


def test_with_htmx_the_fragment_is_swapped(boss: Client) -> None:
    upload(boss, MAILU_YAML)

    checked = boss.post(f"{URL}check/", BOTH, headers=HTMX).content.decode()
    made = boss.post(f"{URL}make/", headers=HTMX)
    again = boss.post(f"{URL}make/", headers=HTMX)

    assert "<html" not in checked
    assert "Import everything" in checked
    assert made["HX-Redirect"] == again["HX-Redirect"] == URL
    assert Alias.objects.count() == 2
    assert AuditEntry.objects.count() == 1


def test_a_file_that_holds_nothing_is_refused(boss: Client) -> None:
    answer = upload(boss, {"alias": []})

    assert answer.status_code == 422
    assert "There is nothing in the file." in answer.content.decode()


def test_where_nothing_would_be_made_there_is_no_button(boss: Client) -> None:
    page = check(boss, {"alias": [{"email": "%@example.com", "wildcard": True}]})

    assert "There is nothing to import" in page
    assert "A pattern is not an address." in page
    assert "Import everything" not in page


def test_of_many_things_some_are_shown(boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "PREVIEWED", 2)
    names = ["one", "two", "three", "four", "five"]
    document = {
        "domain": [{"name": f"{name}.test"} for name in names],
        "user": [{"email": f"{name}@one.test"} for name in names],
        "alias": [{"email": f"{name}.a@one.test", "owner_email": f"{name}@one.test"} for name in names]
        + [{"email": f"{name}.%@one.test", "wildcard": True} for name in names],
    }

    page = check(boss, document)

    assert page.count("… and 3 more.") == 4
    for last in ("five.test", "five@one.test", "five.a@one.test", "five.%@one.test"):
        assert last not in page
    make(boss)
    assert Alias.objects.count() == 5


def test_what_is_in_the_file_is_no_markup_and_no_odd_character(boss: Client) -> None:
    odd = "<b>\x00\ud800\x1b"
    document = {
        "domain": [{"name": "new.test", "comment": odd}, {"name": f"x{odd}"}],
        "user": [{"email": "new@new.test", "displayed_name": odd}, {"email": f"{odd}@new.test"}],
        "alias": [
            {"email": "a@new.test", "owner_email": "new@new.test", "note": "<script>x</script>"},
            {"email": f"{odd}%@new.test", "wildcard": True},
        ],
    }

    wrong = check(boss, document)
    document["domain"].pop()
    document["user"].pop()
    right = check(boss, document)
    make(boss)

    assert "x&lt;b&gt;���" in wrong
    assert "&lt;script&gt;x&lt;/script&gt;" in right
    assert "&lt;b&gt;���%@new.test" in right
    assert User.objects.get(email="new@new.test").name == "<b>���"


def test_what_no_database_can_store_makes_a_row_wrong_and_is_kept_readable(boss: Client) -> None:
    odd = "\x00\ud800"
    document = {
        "alias": [
            {"email": f"{odd}@new.test", "owner_email": "new@new.test"},
            {"email": "a@new.test", "owner_email": odd},
            {"email": "b@new.test", "owner_email": "new@new.test", "note": odd},
            {"email": "c@new.test", "owner_email": "new@new.test", "destination": [odd]},
        ],
        "user": [{"email": "new@new.test"}],
    }

    page = check(boss, document)

    assert "4 rows have errors." in page
    assert '<span class="address">��@new.test</span>' in page
    assert "There is no user �� here." in page


# What Mailu's own generator makes, a name that stays with the server, and a mailbox's alias to itself.
WRONG = {
    "domain": [{"name": "example.com"}, {"name": "-"}],
    "user": [{"email": "alice@example.com"}, {"email": "not an address"}],
    "alias": [
        {"email": "fine.word@example.com", "destination": ["alice@example.com"]},
        {"email": "-bad.gamma@example.com", "destination": ["alice@example.com"]},
        {
            "email": "postmaster@example.com",
            "destination": ["alice@example.com"],
            "owner_email": "alice@example.com",
        },
        {"email": "alice@example.com", "destination": ["alice@example.com"]},
        {"email": "lost.word@example.com", "destination": [], "owner_email": "not an address"},
    ],
}


def test_what_is_wrong_in_a_servers_file_can_be_left_out_at_a_word(boss: Client) -> None:
    before = world()
    wrong = check(boss, WRONG)
    seen = boss.post(f"{URL}leave-out/", follow=True).content.decode()
    untouched = world()
    page = make(boss)

    assert "5 rows have errors." in wrong
    assert "Skip them (3 rows remain)" in wrong
    assert "Import everything" not in wrong
    assert "6 entries are skipped" in seen
    for reason in ("It is a mailbox on that server", "This name is reserved."):
        assert reason in seen
    assert "-bad.gamma@example.com" in seen
    assert untouched == before
    assert "Imported: 1 new domains, 1 new users, 1 aliases." in page
    assert [alias.address for alias in Alias.objects.all()] == ["fine.word@example.com"]


def test_what_was_left_out_is_looked_at_again_with_other_choices(boss: Client) -> None:
    document = {
        "domain": [{"name": "example.com"}],
        "user": [{"email": "alice@example.com"}],
        "alias": [
            {"email": "a.b@example.com", "destination": ["alice@example.com"]},
            {"email": "-bad@example.com", "destination": ["alice@example.com"]},
        ],
    }
    without_users = check(boss, document, {"create_domains": "on"})
    boss.post(f"{URL}leave-out/")
    again = boss.post(f"{URL}check/", BOTH, follow=True).content.decode()

    assert "2 rows have errors." in without_users
    assert "1 row has an error." in again
    assert "-bad@example.com" in again


def test_nothing_is_offered_where_nothing_would_be_left(boss: Client) -> None:
    page = check(boss, {"alias": [{"email": "-bad@example.com", "destination": ["a@example.com"]}]})

    assert "1 row has an error." in page
    assert "Skip them" not in page
    assert "Choose another file" in page
