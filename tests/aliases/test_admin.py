"""Aliases in Django admin: the verbs as actions, nothing to break a rule with, quick with a million."""

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import Settings

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from core import admin as core_admin
from domains.models import Domain
from tests.rig.admin import act

pytestmark = pytest.mark.django_db


def test_each_action_does_what_its_verb_does(boss: Client, alice: User) -> None:
    alias = issue(owner=alice)

    for action, expected in [
        ("disable", (False, False)),
        ("enable", (True, False)),
        ("delete_aliases", (True, True)),
        ("restore", (True, False)),
    ]:
        act(boss, "aliases_alias", action, alias.pk)
        alias.refresh_from_db()
        assert (alias.enabled, alias.is_deleted) == expected, action


def test_a_stripped_alias_is_left_alone_with_a_sentence(boss: Client, alice: User) -> None:
    alias = issue(owner=alice)
    Alias.objects.all().strip()
    before = Alias.objects.values().get()

    for action in ("enable", "disable", "delete_aliases", "restore"):
        assert "no owner any more" in act(boss, "aliases_alias", action, alias.pk).content.decode()

    assert Alias.objects.values().get() == before


def test_an_alias_is_made_for_somebody_under_the_owners_rules(
    boss: Client, alice: User, mallory: User, other_org: Domain
) -> None:
    url = reverse("admin:aliases_alias_add")

    boss.post(url, {"owner": str(alice.pk), "domain": "", "hostname": "https://github.com/x?y", "note": ""})
    refused = boss.post(
        url, {"owner": str(mallory.pk), "domain": str(other_org.pk), "hostname": "", "note": ""}
    )

    alias = Alias.objects.get()
    assert (alias.owner, alias.hostname, alias.domain.name) == (alice, "github.com", "example.com")
    assert "You have no access to this domain." in refused.content.decode()


def test_the_form_edits_what_may_be_edited_and_nothing_else(boss: Client, alice: User, mallory: User) -> None:
    alias = issue(owner=alice)
    crafted = {
        "owner": str(mallory.pk),
        "address": "evil@example.com",
        "domain": "99",
        "forwards": "7",
        "deleted_at": "2020-01-01",
    }

    boss.post(
        reverse("admin:aliases_alias_change", args=[alias.pk]),
        {"note": "n", "name": "a\nb", "hostname": "https://u:p@x.test/y", "pinned": "on", **crafted},
    )
    too_long = boss.post(
        reverse("admin:aliases_alias_change", args=[alias.pk]),
        {"note": "x" * 10_001, "name": "", "hostname": ""},
    )

    changed = Alias.objects.get()
    assert (changed.note, changed.name, changed.hostname, changed.pinned) == ("n", "a b", "x.test", True)
    assert (changed.owner, changed.address, changed.forwards, changed.deleted_at) == (
        alice,
        alias.address,
        0,
        None,
    )
    assert "at most 10,000 characters" in too_long.content.decode()


def test_the_list_is_searched_by_address_owner_and_host(boss: Client, alice: User, root: User) -> None:
    mine = issue(owner=alice, hostname="github.com")
    other = issue(owner=root, hostname="gitlab.com", domain="example.com")

    def found(term: str) -> set[str]:
        answer = boss.get(reverse("admin:aliases_alias_changelist"), {"q": term})
        return {alias.address for alias in answer.context["cl"].result_list}

    assert found("github.") == {mine.address}
    assert found(mine.address.upper()) == {mine.address}
    assert found("ALICE@example.com") == {mine.address}
    assert found("gitlab.com") == {other.address}
    assert found("git") == {mine.address, other.address}
    assert found("%") == found("_") == set()


def test_the_states_are_filtered(boss: Client, alice: User) -> None:
    rows = {name: issue(owner=alice) for name in ("enabled", "disabled", "deleted", "stripped")}
    rows["disabled"].disable()
    rows["deleted"].soft_delete()
    Alias.objects.filter(pk=rows["stripped"].pk).strip()

    for state, alias in rows.items():
        answer = boss.get(reverse("admin:aliases_alias_changelist"), {"state": state})
        assert [row.pk for row in answer.context["cl"].result_list] == [alias.pk], state


def test_the_list_takes_as_many_statements_for_fifty_aliases_as_for_five(boss: Client, alice: User) -> None:
    def statements() -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert boss.get(reverse("admin:aliases_alias_changelist")).status_code == 200
        return len(queries)

    for _ in range(5):
        issue(owner=alice)
    few = statements()
    for _ in range(45):
        issue(owner=alice)

    assert statements() == few


def test_the_search_by_address_uses_the_unique_index(root: User, rf: RequestFactory) -> None:
    model_admin = admin.site._registry[Alias]
    request = rf.get("/admin/aliases/alias/", {"q": "github."})
    request.user = root

    rows, _duplicates = model_admin.get_search_results(
        request, model_admin.get_queryset(request).order_by("-pk"), "github."
    )

    if connection.vendor == "postgresql":
        # A planner with three rows reads them all: ask what it could do.
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
        plan = rows.order_by().explain()
        assert "Index Cond: (((address)::text >= 'github.'::text) AND" in plan
        assert "alias_address_unique" in plan
        return
    plan = rows.explain()
    assert "SEARCH aliases_alias USING INDEX" in plan
    assert "address>? AND address<?" in plan
    assert "TEMP B-TREE" not in plan  # nothing is sorted before the first page


def test_a_refusal_is_said_and_the_others_are_done(boss: Client, alice: User, example_com: Domain) -> None:
    deleted, present = issue(owner=alice), issue(owner=alice)
    deleted.soft_delete()

    said = act(boss, "aliases_alias", "restore", deleted.pk, present.pk).content.decode()

    deleted.refresh_from_db()
    assert not deleted.is_deleted
    assert "1 restored." in said
    assert "can no longer be restored" in said


def test_no_more_rows_than_a_page_can_answer_for_are_changed_at_once(
    boss: Client, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [issue(owner=alice).pk for _ in range(3)]
    monkeypatch.setattr(core_admin, "ACTION_MAX", 2)

    said = act(boss, "aliases_alias", "disable", keys[0], select_across="1")
    assert "Nothing was changed: at most 2 rows at once." in said.content.decode()
    assert Alias.objects.filter(enabled=True).count() == 3
    act(boss, "aliases_alias", "disable", *keys[:2])

    assert Alias.objects.filter(enabled=True).count() == 1


def test_an_alias_over_the_owners_limit_is_not_made(boss: Client, alice: User, settings: Settings) -> None:
    settings.ALIASES_PER_HOUR = 0

    answer = boss.post(
        reverse("admin:aliases_alias_add"),
        {"owner": str(alice.pk), "domain": "", "hostname": "", "note": "", "address": "info@example.com"},
    )

    assert answer.status_code == 200
    assert "created too many aliases" in answer.content.decode()
    assert not Alias.objects.exists()


def test_no_row_goes(boss: Client, alice: User) -> None:
    alias = issue(owner=alice)

    gone = boss.post(reverse("admin:aliases_alias_delete", args=[alias.pk]), {"post": "yes"})
    act(boss, "aliases_alias", "delete_selected", alias.pk, post="yes")

    assert gone.status_code == 403
    assert Alias.objects.present().get() == alias


def test_a_stripped_aliass_form_changes_nothing(boss: Client, alice: User) -> None:
    alias = issue(owner=alice)
    Alias.objects.all().strip()
    before = Alias.objects.values().get()

    boss.post(
        reverse("admin:aliases_alias_change", args=[alias.pk]),
        {"note": "n", "name": "n", "hostname": "x.test", "pinned": "on", "owner": str(alice.pk)},
    )

    assert Alias.objects.values().get() == before


def test_a_part_of_an_owners_address_and_a_tagged_alias_are_found(
    boss: Client, alice: User, root: User
) -> None:
    mine = issue(owner=alice)
    issue(owner=root, domain="example.com")

    for term in ("Alice@", "alice@exam", mine.address.replace("@", "+tag@")):
        answer = boss.get(reverse("admin:aliases_alias_changelist"), {"q": term})
        assert list(answer.context["cl"].result_list) == [mine], term


def test_the_domains_are_filtered(boss: Client, alice: User, root: User, other_org: Domain) -> None:
    issue(owner=alice)
    other = issue(owner=root, domain="other.org")

    for name, expected in [("other.org", [other]), ("nowhere.test", [])]:
        answer = boss.get(reverse("admin:aliases_alias_changelist"), {"domain": name})
        assert list(answer.context["cl"].result_list) == expected


def test_a_long_list_is_counted_no_further_than_the_page_says(
    boss: Client, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core_admin, "COUNT_MAX", 2)
    for _ in range(3):
        issue(owner=alice)

    with CaptureQueriesContext(connection) as queries:
        page = boss.get(reverse("admin:aliases_alias_changelist")).content.decode()

    counts = [q["sql"] for q in queries if "COUNT(" in q["sql"]]
    assert "2+ aliases" in page
    assert counts
    assert all("LIMIT 2" in sql for sql in counts)


def test_only_an_index_orders_the_list(boss: Client, alice: User) -> None:
    issue(owner=alice)

    page = boss.get(reverse("admin:aliases_alias_changelist")).content.decode()

    assert page.count('class="sortable') == 1


def test_an_account_with_more_aliases_than_a_statement_has_room_for_is_deleted(
    boss: Client, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aliases.models.alias_queryset.STRIP_BATCH", 2)
    for _ in range(5):
        issue(owner=alice, note="secret")

    with CaptureQueriesContext(connection) as queries:
        act(boss, "accounts_user", "delete_accounts", alice.pk, confirmed="yes")

    updates = [q["sql"] for q in queries if q["sql"].startswith('UPDATE "aliases_alias"')]
    assert len(updates) == 3
    assert Alias.objects.stripped().filter(note="").count() == 5
    assert not User.objects.filter(pk=alice.pk).exists()
