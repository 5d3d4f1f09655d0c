"""SimpleLogin's custom names: the endings that are offered, and the aliases made with them."""

import re
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from allauth.account.models import EmailAddress
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from domains.models import Domain
from tests.conftest import Api

pytestmark = pytest.mark.django_db


def offered(client: APIClient, hostname: str = "") -> dict[str, str]:
    """Each ending that is offered, and its signed form."""
    rows = client.get(f"/api/v5/alias/options?hostname={hostname}").json()["suffixes"]
    return {row["suffix"]: row["signed_suffix"] for row in rows}


def test_options_offer_endings_and_recommend_what_there_is(alice: User, shared_org: Domain, api: Api) -> None:
    client = api(alice)
    first = client.get("/api/v5/alias/options?hostname=www.github.com").json()
    alias = issue(owner=alice, hostname="www.github.com")
    issue(owner=alice, hostname="www.github.com").soft_delete()
    second = client.get("/api/v5/alias/options?hostname=www.github.com").json()
    old = client.get("/api/v4/alias/options?hostname=www.github.com").json()
    bare = client.get("/api/v5/alias/options").json()

    assert first["can_create"] is True
    assert first["prefix_suggestion"] == "github"
    assert "recommendation" not in first
    endings = [row["suffix"] for row in first["suffixes"]]
    assert endings[0] == "@example.com"
    assert re.fullmatch(r"\.[a-z]+@example\.com", endings[1])
    assert re.fullmatch(r"\.[a-z]+@shared\.org", endings[2])
    assert len(endings) == 3  # never the bare shared domain
    assert second["recommendation"] == {"alias": alias.address, "hostname": "www.github.com"}
    assert all(len(pair) == 2 for pair in old["suffixes"])
    assert bare["prefix_suggestion"] == ""
    assert "recommendation" not in bare


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_a_custom_alias_is_made_from_prefix_and_ending(alice: User, api: Api, version: str) -> None:
    client = api(alice)
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    body = {
        "alias_prefix": "My-Shop",
        "signed_suffix": offered(client)["@example.com"],
        "mailbox_ids": [home.pk],
        "note": "n",
        "name": "Alice",
    }

    answer = client.post(f"/api/{version}/alias/custom/new?hostname=shop.test", body, format="json")

    assert answer.status_code == 201
    made = answer.json()
    assert made["alias"] == made["email"] == "my-shop@example.com"
    assert (made["note"], made["name"]) == ("n", "Alice")
    expected = "alice@home.test" if version == "v3" else "alice@example.com"
    assert [box["email"] for box in made["mailboxes"]] == [expected]
    assert Alias.objects.get().hostname == "shop.test"
    again = client.post(f"/api/{version}/alias/custom/new", body, format="json")
    assert (again.status_code, again.json()) == (
        409,
        {"error": "This address is taken. Choose another name."},
    )


def test_an_ending_is_for_its_user_and_for_ten_minutes(alice: User, root: User, api: Api) -> None:
    client = api(alice)
    signed = offered(client)["@example.com"]
    body = {"alias_prefix": "shop", "signed_suffix": signed}
    path = "/api/v2/alias/custom/new"

    tampered = client.post(path, {**body, "signed_suffix": signed.replace("@", ".x@")}, format="json")
    theirs = api(root).post(path, body, format="json")
    missing = client.post(path, {"alias_prefix": "shop"}, format="json")
    with time_machine.travel(timezone.now() + timedelta(seconds=601)):
        late = client.post(path, body, format="json")

    assert [answer.status_code for answer in (tampered, theirs, missing, late)] == [412] * 4
    assert late.json() == {"error": "Alias creation time is expired, please retry"}
    assert not Alias.objects.exists()


@pytest.mark.parametrize(
    "prefix",
    ["", "a..b", "-a", "a.", "ü", "info", "b.x", "postmaster", "a@b", "a+b", "x" * 41, 5, None, ["a"]],
)
def test_a_prefix_that_is_no_name_is_refused(alice: User, api: Api, prefix: Any) -> None:
    client = api(alice)
    body = {"alias_prefix": prefix, "signed_suffix": offered(client)["@example.com"]}

    answer = client.post("/api/v2/alias/custom/new", body, format="json")

    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}
    assert not Alias.objects.exists()


def test_the_access_rule_holds_when_the_ending_is_used(alice: User, shared_org: Domain, api: Api) -> None:
    client = api(alice)
    signed = next(signed for suffix, signed in offered(client).items() if suffix.endswith("@shared.org"))
    body = {"alias_prefix": "shop", "signed_suffix": signed}
    shared_org.revoke(alice)

    assert client.post("/api/v2/alias/custom/new", body, format="json").status_code == 403
    shared_org.set_anonmail(False)
    assert client.post("/api/v2/alias/custom/new", body, format="json").status_code == 404
