"""SimpleLogin's settings: how new aliases are named, and the domains they are on."""

import pytest

from accounts.models import User
from aliases.issuing import issue
from aliases.models import AliasPreferences, NameSpace
from aliases.spaces import give
from domains.models import Domain
from tests.conftest import Api

pytestmark = pytest.mark.django_db


def test_settings_are_read_and_changed(alice: User, shared_org: Domain, api: Api) -> None:
    client = api(alice)
    before = client.get("/api/setting").json()
    changed = client.patch(
        "/api/setting",
        {"random_alias_suffix": "random_string", "random_alias_default_domain": "shared.org"},
        format="json",
    ).json()
    as_uuid = client.patch("/api/setting", {"alias_generator": "uuid"}, format="json").json()

    assert before == {
        "alias_generator": "word",
        "notification": False,
        "random_alias_default_domain": "example.com",
        "sender_format": "AT",
        "random_alias_suffix": "word",
    }
    assert changed["random_alias_suffix"] == "random_string"
    assert changed["random_alias_default_domain"] == "shared.org"
    assert as_uuid["alias_generator"] == "uuid"
    assert AliasPreferences.objects.get(user=alice).style == "uuid"
    back = client.patch("/api/setting", {"random_alias_default_domain": "example.com"}, format="json").json()
    assert back["random_alias_default_domain"] == "example.com"
    for body in (
        {"alias_generator": "x"},
        {"random_alias_default_domain": "elsewhere.test"},
        {"sender_format": "B"},
        {"notification": "yes"},
    ):
        assert client.patch("/api/setting", body, format="json").status_code == 400


def test_the_default_domain_that_is_told_is_the_one_that_is_used(
    alice: User, other_org: Domain, api: Api
) -> None:
    grant = other_org.grant(alice, granted_by=None)
    AliasPreferences.objects.create(user=alice, default_domain=other_org)
    client = api(alice)

    def told_used_and_offered() -> tuple[str, str, str]:
        told = client.get("/api/setting").json()["random_alias_default_domain"]
        used = client.post("/api/alias/random/new").json()["alias"].partition("@")[2]
        offered = client.get("/api/v5/alias/options").json()["suffixes"][0]["suffix"].partition("@")[2]
        return told, used, offered

    assert told_used_and_offered() == ("other.org", "other.org", "other.org")
    grant.delete()
    assert told_used_and_offered() == ("example.com", "example.com", "example.com")
    Domain.objects.update(anonmail_enabled=False)
    assert client.get("/api/setting").json()["random_alias_default_domain"] == ""


def test_domains_are_those_that_i_may_use(
    alice: User, shared_org: Domain, other_org: Domain, api: Api
) -> None:
    issue(owner=alice)
    client = api(alice)

    assert client.get("/api/v2/setting/domains").json() == [
        {"domain": "example.com", "is_custom": False},
        {"domain": "shared.org", "is_custom": False},
    ]
    assert client.get("/api/setting/domains").json() == [[True, "example.com"], [True, "shared.org"]]
    custom = client.get("/api/custom_domains").json()["custom_domains"]
    assert [(row["domain_name"], row["nb_alias"]) for row in custom] == [
        ("example.com", 1),
        ("shared.org", 0),
    ]


def test_a_catch_all_is_switched_by_whoever_has_all_names(
    alice: User, mallory: User, other_org: Domain, example_com: Domain, api: Api
) -> None:
    other_org.grant(alice)
    mine, others = give(domain=other_org, owner=alice), give(domain=example_com, owner=alice, suffix="alice")
    domain = Domain.objects.create(name="theirs.test", anonmail_enabled=True)
    domain.grant(mallory)
    theirs = give(domain=domain, owner=mallory)
    client = api(alice)
    before = client.get("/api/custom_domains").json()["custom_domains"]
    url = f"/api/custom_domains/{other_org.pk}"

    answer = client.patch(url, {"catch_all": True}, format="json")

    assert answer.status_code == 200
    assert [(row["domain_name"], row["catch_all"]) for row in before] == [
        ("example.com", False),
        ("other.org", False),
    ]
    assert answer.json()["custom_domain"] == before[1] | {"catch_all": True}
    after = client.get("/api/custom_domains").json()["custom_domains"]
    assert [row["catch_all"] for row in after] == [False, True]
    assert NameSpace.objects.making().get() == mine
    assert client.patch(url, {"catch_all": False}, format="json").json()["custom_domain"] == before[1]
    # A suffix is no catch-all, and another's or nobody's domain does not answer otherwise.
    for key in (others.domain_id, theirs.domain_id, 999):
        refused = client.patch(f"/api/custom_domains/{key}", {"catch_all": True}, format="json")
        assert refused.status_code == 403
    for body in ({}, {"name": "x"}, {"catch_all": None}):
        assert client.patch(url, body, format="json").status_code == 403
    for wrong in ("yes", 1, []):
        assert client.patch(url, {"catch_all": wrong}, format="json").status_code == 400
    assert not NameSpace.objects.making().exists()
    # Without access to the domain, nothing is made there; but the switch works, and can be seen.
    NameSpace.objects.filter(pk=mine.pk).update(enabled=True)
    other_org.revoke(alice)
    assert client.patch(url, {"catch_all": True}, format="json").status_code == 403
    rows = client.get("/api/custom_domains").json()["custom_domains"]
    assert [(row["domain_name"], row["catch_all"]) for row in rows] == [
        ("example.com", False),
        ("other.org", False),
    ]
    assert client.patch(url, {"catch_all": False}, format="json").json()["custom_domain"] == before[1]
    assert not NameSpace.objects.filter(enabled=True).exists()
