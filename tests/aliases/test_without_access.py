"""Whoever may not create on a domain any more still switches off and deletes what they have there."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias, NameSpace
from aliases.spaces import give
from api.addy.ids import public_id
from domains.models import Domain
from tests.conftest import Api

pytestmark = pytest.mark.django_db


@pytest.fixture
def lost(alice: User, other_org: Domain) -> Alias:
    """Alice's alias at a domain on which she may not create any more."""
    other_org.grant(alice)
    alias = issue(owner=alice, domain="other.org")
    other_org.revoke(alice)
    assert not Domain.objects.usable_by(alice).filter(pk=other_org.pk).exists()
    return alias


@pytest.fixture
def admin(root: User) -> Client:
    client = Client()
    client.post("/accounts/login/", {"login": root.email, "password": "root-password-1"})
    return client


Deed = Callable[[APIClient, Client, Client, Alias], Any]

OFF: dict[str, Deed] = {
    "page": lambda api, browser, admin, alias: browser.post(reverse("alias-disable", args=[alias.pk])),
    "list": lambda api, browser, admin, alias: browser.post(
        "/aliases/bulk/", {"action": "disable", "selected": [alias.pk]}
    ),
    "SimpleLogin": lambda api, browser, admin, alias: api.post(f"/api/aliases/{alias.pk}/toggle"),
    "addy.io": lambda api, browser, admin, alias: api.delete(f"/api/v1/active-aliases/{alias.uuid}"),
    "addy.io, many": lambda api, browser, admin, alias: api.post(
        "/api/v1/aliases/deactivate/bulk", {"ids": [alias.uuid]}, format="json"
    ),
    "admin": lambda api, browser, admin, alias: admin.post(
        reverse("admin:aliases_alias_changelist"), {"action": "disable", "_selected_action": [alias.pk]}
    ),
}
DELETED: dict[str, Deed] = {
    "page": lambda api, browser, admin, alias: browser.post(reverse("alias-delete", args=[alias.pk])),
    "list": lambda api, browser, admin, alias: browser.post(
        "/aliases/bulk/", {"action": "delete", "selected": [alias.pk]}
    ),
    "SimpleLogin": lambda api, browser, admin, alias: api.delete(f"/api/aliases/{alias.pk}"),
    "addy.io": lambda api, browser, admin, alias: api.delete(f"/api/v1/aliases/{alias.uuid}"),
    "addy.io, many": lambda api, browser, admin, alias: api.post(
        "/api/v1/aliases/delete/bulk", {"ids": [alias.uuid]}, format="json"
    ),
    "admin": lambda api, browser, admin, alias: admin.post(
        reverse("admin:aliases_alias_changelist"),
        {"action": "delete_aliases", "_selected_action": [alias.pk]},
    ),
}


@pytest.mark.parametrize("way", OFF)
def test_an_alias_can_be_switched_off(
    lost: Alias, alice: User, browser: Client, admin: Client, api: Api, way: str
) -> None:
    answer = OFF[way](api(alice), browser, admin, lost)

    assert answer.status_code < 400
    assert not Alias.objects.get().enabled


@pytest.mark.parametrize("way", DELETED)
def test_an_alias_can_be_deleted(
    lost: Alias, alice: User, browser: Client, admin: Client, api: Api, way: str
) -> None:
    answer = DELETED[way](api(alice), browser, admin, lost)

    assert answer.status_code < 400
    assert Alias.objects.get().is_deleted


def addy_path(kind: str, space: NameSpace) -> str:
    key = ("name space", space.pk) if space.suffix else ("domain", space.domain_id)
    return f"/api/v1/catch-all-{kind}/{public_id(*key)}"


SPACES_OFF: dict[str, Callable[[APIClient, Client, Client, NameSpace], Any]] = {
    "page": lambda api, browser, admin, space: browser.post(
        reverse("name-space-switch", args=[space.pk]), {"enabled": "off"}
    ),
    "SimpleLogin": lambda api, browser, admin, space: api.patch(
        f"/api/custom_domains/{space.domain_id}", {"catch_all": False}, format="json"
    ),
    "addy.io": lambda api, browser, admin, space: api.delete(addy_path("domains", space)),
    "addy.io, a suffix": lambda api, browser, admin, space: api.delete(addy_path("usernames", space)),
    "admin": lambda api, browser, admin, space: admin.post(
        reverse("admin:aliases_namespace_changelist"),
        {"action": "switch_off", "_selected_action": [space.pk]},
    ),
}


@pytest.mark.parametrize("why", ["no access", "service off"])
@pytest.mark.parametrize("way", SPACES_OFF)
def test_a_name_space_can_be_switched_off_while_it_is_paused(
    alice: User,
    other_org: Domain,
    browser: Client,
    admin: Client,
    api: Api,
    way: str,
    why: str,
) -> None:
    """Else it would be on again as soon as the access is back."""
    other_org.grant(alice)
    space = give(domain=other_org, owner=alice, suffix="alice" if way.endswith("suffix") else "")
    NameSpace.objects.update(enabled=True)
    if why == "no access":
        other_org.revoke(alice)
    else:
        Domain.objects.filter(pk=other_org.pk).update(anonmail_enabled=False)

    answer = SPACES_OFF[way](api(alice), browser, admin, space)

    assert answer.status_code < 400
    assert not NameSpace.objects.get().enabled


def test_an_app_is_refused_to_switch_a_paused_name_space_on_in_the_same_words(
    alice: User, other_org: Domain, api: Api
) -> None:
    other_org.grant(alice)
    space = give(domain=other_org, owner=alice)
    other_org.revoke(alice)
    client = api(alice)

    answers = [
        client.patch(f"/api/custom_domains/{other_org.pk}", {"catch_all": True}, format="json"),
        client.post("/api/v1/catch-all-domains", {"id": public_id("domain", space.domain_id)}, format="json"),
    ]

    assert [answer.status_code for answer in answers] == [403, 403]
    assert answers[0].json()["error"] == answers[1].json()["message"]
    assert "Mail makes no aliases here at the moment" in answers[0].json()["error"]
    assert not NameSpace.objects.get().enabled
