"""Managers and admins give name spaces and take them back."""

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts.models import User
from aliases.models import NameSpace
from aliases.spaces import give
from core.audit import AuditEntry
from domains.models import Domain

pytestmark = pytest.mark.django_db

GIVE = reverse("domain-spaces", args=["other.org"])


def test_a_manager_gives_and_takes_back(
    browser: Client, alice: User, mallory: User, other_org: Domain
) -> None:
    other_org.managers.add(alice)
    other_org.grant(mallory)

    said = browser.post(GIVE, {"kind": "suffix", "part": "Mallory", "email": mallory.email}, follow=True)
    space = NameSpace.objects.get()

    assert (str(space), space.owner, space.enabled) == ("*.mallory@other.org", mallory, False)
    assert "*.mallory@other.org are mallory@evil.test&#x27;s now" in said.content.decode()
    entry = AuditEntry.objects.get(action="namespace.add")
    assert (entry.actor, entry.subject, entry.detail) == (alice, "*.mallory@other.org", mallory.email)
    take = reverse("domain-space-take", args=["other.org", space.pk])
    assert "Take *.mallory@other.org back from mallory@evil.test?" in browser.get(take).content.decode()
    browser.post(take)
    assert not NameSpace.objects.exists()
    assert AuditEntry.objects.filter(action="namespace.delete", subject="*.mallory@other.org").exists()


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"kind": "suffix", "part": ""}, "Enter a suffix or the name of a subdomain."),
        ({"kind": "suffix", "part": "a.b"}, "It consists of 2 to 30"),
        ({"kind": "all", "email": "nobody@evil.test"}, "Nobody signs in with this address."),
        ({"kind": "all"}, "given as a whole to one person"),
        (
            {"kind": "suffix", "part": "new", "email": "newcomer@new.test"},
            "Grant access to the domain first.",
        ),
        ({"kind": "suffix", "part": "taken"}, "have been given to somebody already"),
        # Only a global admin makes domains.
        ({"kind": "subdomain", "part": "mallory"}, "not one of the available choices"),
        ({}, "This field is required."),
    ],
)
def test_what_a_manager_may_not_give(
    browser: Client, alice: User, mallory: User, other_org: Domain, sent: dict[str, str], said: str
) -> None:
    other_org.managers.add(alice)
    other_org.grant(mallory)
    User.objects.create_user("newcomer@new.test")
    give(domain=other_org, owner=alice, suffix="taken")

    answer = browser.post(GIVE, {"email": mallory.email} | sent)

    assert answer.status_code == 422
    assert said in answer.content.decode()
    assert NameSpace.objects.count() == 1
    assert Domain.objects.count() == 2


def test_the_form_is_limited_as_grants_are(
    browser: Client, alice: User, other_org: Domain, settings: Settings
) -> None:
    settings.GRANTS_PER_HOUR = 1
    other_org.managers.add(alice)
    sent = {"kind": "all", "email": "nobody@evil.test"}

    answers = [browser.post(GIVE, sent).content.decode() for _ in range(2)]

    assert ["Too many grants" in answer for answer in answers] == [False, True]


def test_a_global_admin_gives_a_subdomain(boss: Client, mallory: User, other_org: Domain) -> None:
    boss.post(GIVE, {"kind": "subdomain", "part": "mallory", "email": mallory.email})

    assert str(NameSpace.objects.get()) == "*@mallory.other.org"


def test_no_manager_takes_what_is_at_another_domain(browser: Client, alice: User, other_org: Domain) -> None:
    foreign = give(domain=Domain.objects.create(name="foreign.test", audience="everyone"), owner=alice)
    other_org.managers.add(alice)

    assert browser.post(reverse("domain-space-take", args=["other.org", foreign.pk])).status_code == 404
    assert browser.post(reverse("domain-space-take", args=["foreign.test", foreign.pk])).status_code == 404
    assert browser.get(reverse("domain-spaces", args=["foreign.test"])).status_code == 404
    assert NameSpace.objects.exists()


def test_the_admin_gives_takes_and_switches_off_and_sees_no_key_word(
    boss: Client, alice: User, other_org: Domain
) -> None:
    add, listed = (reverse(f"admin:aliases_namespace_{page}") for page in ("add", "changelist"))
    refused = boss.post(add, {"domain": other_org.pk, "suffix": "Alice", "owner": alice.pk})
    assert "Grant access to the domain first." in refused.content.decode()
    other_org.grant(alice)
    boss.post(add, {"domain": other_org.pk, "suffix": "Alice", "owner": alice.pk})
    space = NameSpace.objects.get()
    assert (str(space), space.owner) == ("*.alice@other.org", alice)
    again = boss.post(add, {"domain": other_org.pk, "suffix": "alice", "owner": alice.pk})
    assert "have been given to somebody already" in again.content.decode()
    NameSpace.objects.update(key_word="secretword", enabled=True)

    boss.post(listed, {"action": "switch_off", "_selected_action": [space.pk]})

    assert not NameSpace.objects.get().enabled
    change = reverse("admin:aliases_namespace_change", args=[space.pk])
    assert "secretword" not in boss.get(change).content.decode() + boss.get(listed).content.decode()
    boss.post(reverse("admin:aliases_namespace_delete", args=[space.pk]), {"post": "yes"})
    assert not NameSpace.objects.exists()
    assert set(AuditEntry.objects.values_list("action", flat=True)) >= {
        "namespace.add",
        "namespace.switch_off",
        "namespace.delete",
    }
