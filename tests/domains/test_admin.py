"""Domains and grants in Django admin: the toggle, the grants by their verbs, names that stay."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import User
from aliases.issuing import issue
from domains import admin as domains_admin
from domains.models import AccessGrant, Domain
from tests.rig.admin import act

pytestmark = pytest.mark.django_db


def domain_form(**fields: str) -> dict[str, str]:
    kept = {"audience": "own", "minimum_style": "words"}
    return {**kept, "grants-TOTAL_FORMS": "0", "grants-INITIAL_FORMS": "0", **fields}


def test_the_toggle_is_in_the_list(boss: Client, example_com: Domain) -> None:
    data = {
        "form-TOTAL_FORMS": "1",
        "form-INITIAL_FORMS": "1",
        "form-0-id": str(example_com.pk),
        "_save": "Save",
    }

    boss.post(reverse("admin:domains_domain_changelist"), data)

    example_com.refresh_from_db()
    assert not example_com.anonmail_enabled


def test_a_grant_in_the_domains_form_keeps_who_gave_it(
    boss: Client, root: User, mallory: User, other_org: Domain
) -> None:
    data = domain_form(name="other.org", anonmail_enabled="on") | {
        "grants-TOTAL_FORMS": "1",
        "grants-0-domain": str(other_org.pk),
        "grants-0-user": str(mallory.pk),
    }

    boss.post(reverse("admin:domains_domain_change", args=[other_org.pk]), data)

    grant = AccessGrant.objects.get()
    assert (grant.user, grant.granted_by) == (mallory, root)

    data |= {"grants-INITIAL_FORMS": "1", "grants-0-id": str(grant.pk), "grants-0-DELETE": "on"}
    boss.post(reverse("admin:domains_domain_change", args=[other_org.pk]), data)

    assert not AccessGrant.objects.exists()


def test_a_grant_is_given_and_taken_in_its_own_list(
    boss: Client, root: User, mallory: User, other_org: Domain
) -> None:
    data = {"domain": str(other_org.pk), "user": str(mallory.pk)}
    boss.post(reverse("admin:domains_accessgrant_add"), data)
    again = boss.post(reverse("admin:domains_accessgrant_add"), data)

    grant = AccessGrant.objects.get()
    assert grant.granted_by == root
    assert "already" in again.content.decode()

    boss.post(reverse("admin:domains_accessgrant_delete", args=[grant.pk]), {"post": "yes"})
    assert not AccessGrant.objects.exists()


def test_a_domain_with_aliases_keeps_its_name_and_stays(
    boss: Client, alice: User, example_com: Domain
) -> None:
    issue(owner=alice)

    boss.post(
        reverse("admin:domains_domain_change", args=[example_com.pk]),
        domain_form(name="evil.test", comment="c"),
    )
    url = reverse("admin:domains_domain_delete", args=[example_com.pk])
    said = [boss.get(url, follow=True), boss.post(url, {"post": "yes"}, follow=True)]

    example_com.refresh_from_db()
    assert (example_com.name, example_com.comment) == ("example.com", "c")
    assert all("has aliases, and their addresses stay taken" in answer.content.decode() for answer in said)


def test_a_domain_without_aliases_may_go(boss: Client, other_org: Domain) -> None:
    boss.post(reverse("admin:domains_domain_delete", args=[other_org.pk]), {"post": "yes"})

    assert not Domain.objects.filter(pk=other_org.pk).exists()


def test_a_domains_name_is_taken_in_any_form(boss: Client) -> None:
    boss.post(reverse("admin:domains_domain_add"), domain_form(name="BÜCHER.example"))
    again = boss.post(reverse("admin:domains_domain_add"), domain_form(name="xn--bcher-kva.example"))

    assert [domain.name for domain in Domain.objects.all()] == ["xn--bcher-kva.example"]
    assert "This domain exists already." in again.content.decode()
    assert "bücher.example" in boss.get(reverse("admin:domains_domain_changelist")).content.decode()


def test_a_domain_that_gets_its_first_alias_while_it_is_deleted_stays(
    boss: Client, alice: User, example_com: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Domain.delete

    def delete(domain: Domain) -> Any:
        issue(owner=alice)
        return original(domain)

    monkeypatch.setattr(Domain, "delete", delete)
    url = reverse("admin:domains_domain_delete", args=[example_com.pk])

    answer = boss.post(url, {"post": "yes"}, follow=True)

    assert "has aliases, and their addresses stay taken" in answer.content.decode()
    assert Domain.objects.filter(pk=example_com.pk).exists()


def test_the_toggle_writes_itself_alone(boss: Client, example_com: Domain) -> None:
    data = {
        "form-TOTAL_FORMS": "1",
        "form-INITIAL_FORMS": "1",
        "form-0-id": str(example_com.pk),
        "form-0-name": "evil.test",
        "_save": "Save",
    }

    with CaptureQueriesContext(connection) as queries:
        boss.post(reverse("admin:domains_domain_changelist"), data)

    (update,) = [q["sql"] for q in queries if q["sql"].startswith('UPDATE "domains_domain"')]
    assert '"anonmail_enabled" = ' in update
    assert '"name" = ' not in update


def test_the_list_says_how_many_aliases_there_are_as_far_as_it_counts(
    boss: Client, alice: User, other_org: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    def figures() -> list[str]:
        page = boss.get(reverse("admin:domains_domain_changelist")).content.decode()
        return [part.split("</td>")[0] for part in page.split('<td class="field-alias_count">')[1:]]

    for _ in range(3):
        issue(owner=alice)
    three = '<a href="/admin/aliases/alias/?domain=example.com">3</a>'
    assert figures() == [three, '<a href="/admin/aliases/alias/?domain=other.org">0</a>']

    monkeypatch.setattr(domains_admin, "COUNT_MAX", 2)

    assert figures()[0] == '<a href="/admin/aliases/alias/?domain=example.com">2+</a>'
    form = boss.get(reverse("admin:domains_domain_change", args=[alice.aliases.first().domain_id]))
    assert three in form.content.decode()


def test_the_list_takes_as_many_statements_for_ten_domains_as_for_two(
    boss: Client, alice: User, other_org: Domain
) -> None:
    def statements() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert boss.get(reverse("admin:domains_domain_changelist")).status_code == 200
        return len(queries)

    few = statements()
    for number in range(8):
        Domain.objects.create(name=f"d{number}.test").managers.add(alice)

    assert statements() == few


def test_a_domain_with_many_grants_is_still_saved(
    boss: Client, alice: User, mallory: User, other_org: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domains_admin, "INLINE_GRANTS_MAX", 1)
    other_org.grant(alice)
    url = reverse("admin:domains_domain_change", args=[other_org.pk])
    assert "grants-TOTAL_FORMS" in boss.get(url).content.decode()
    other_org.grant(mallory)

    page = boss.get(url).content.decode()
    boss.post(url, {"name": "other.org", "audience": "own", "minimum_style": "words", "comment": "many"})

    grants_page = f"/admin/domains/accessgrant/?domain__id__exact={other_org.pk}"
    other_org.refresh_from_db()
    assert "grants-TOTAL_FORMS" not in page
    assert f'href="{grants_page}"' in page
    assert other_org.comment == "many"
    assert boss.get(grants_page).context["cl"].result_count == 2


def test_many_grants_are_taken_back_at_once(
    boss: Client, alice: User, mallory: User, other_org: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [other_org.grant(user).pk for user in (alice, mallory)]
    revoked = []
    original = Domain.revoke
    monkeypatch.setattr(Domain, "revoke", lambda domain, user: revoked.append(user) or original(domain, user))

    act(boss, "domains_accessgrant", "delete_selected", *keys, post="yes")

    assert set(revoked) == {alice, mallory}
    assert not AccessGrant.objects.exists()
