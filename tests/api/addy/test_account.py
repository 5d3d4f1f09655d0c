"""What addy.io's calls say about an account, its token and its recipients."""

from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from django.utils import timezone
from pytest_django import Settings
from rest_framework.test import APIClient

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from aliases.spaces import give
from domains.models import Domain
from tests.api.addy.calls import make, recipient_id
from tests.conftest import Api
from tokens.models import Token
from tokens.scopes import EVERYTHING

pytestmark = pytest.mark.django_db


def test_the_account_tells_its_figures(alice: User, root: User, api: Api, home: EmailAddress) -> None:
    shared = Domain.objects.create(name="shared.org", anonmail_enabled=True, is_shared=True)
    shared.grant(alice)
    for domain in ("example.com", "shared.org", "example.com"):
        alias = issue(owner=alice, domain=domain)
        Alias.objects.filter(pk=alias.pk).update(forwards=5, blocks=2, replies=1)
    issue(owner=alice).disable()
    alias.soft_delete()
    issue(owner=root, domain="example.com")

    told = api(alice).get("/api/v1/account-details").json()["data"]

    assert told["username"] == "alice@example.com"
    assert told["default_recipient_id"] == recipient_id(EmailAddress.objects.get(user=alice, primary=True))
    assert (told["default_alias_domain"], told["default_alias_format"]) == ("example.com", "random_words")
    assert told["recipient_count"] == 2
    assert told["active_shared_domain_alias_count"] == 1
    assert [told[f"total_emails_{what}"] for what in ("forwarded", "blocked", "replied", "sent")] == [
        15,
        6,
        3,
        0,
    ]
    states = ("total_aliases", "total_active_aliases", "total_inactive_aliases", "total_deleted_aliases")
    assert [told[name] for name in states] == [3, 2, 1, 1]


def test_somebody_without_any_domain_is_told_so(mallory: User, api: Api) -> None:
    client = api(mallory)

    assert client.get("/api/v1/domain-options").json() == {
        "data": [],
        "sharedDomains": [],
        "defaultAliasDomain": "",
        "defaultAliasFormat": "random_words",
    }
    assert make(client).status_code == 422


def test_the_token_is_told_without_its_secret(alice: User) -> None:
    expires = timezone.now() + timedelta(days=30)
    token, secret = Token.objects.issue(owner=alice, name="Bitwarden", scopes=EVERYTHING, expires=expires)

    answer = APIClient(HTTP_AUTHORIZATION=f"Bearer {secret}").get("/api/v1/api-token-details")

    assert answer.json() == {
        "name": "Bitwarden",
        "created_at": f"{token.created:%Y-%m-%d %H:%M:%S}",
        "expires_at": f"{expires:%Y-%m-%d %H:%M:%S}",
        "scopes": ["create", "manage", "activity", "send"],
    }


def test_recipients_are_own_addresses(alice: User, root: User, api: Api, home: EmailAddress) -> None:
    new = EmailAddress.objects.create(user=alice, email="new@home.test")
    issue(owner=alice, destinations=[home.email])
    issue(owner=alice, destinations=[home.email]).soft_delete()
    client = api(alice)

    def found(query: str = "") -> list[tuple[str, int]]:
        rows = client.get(f"/api/v1/recipients{query}").json()["data"]
        return [(row["email"], row["aliases_count"]) for row in rows]

    verified = [("alice@example.com", 0), ("alice@home.test", 1)]
    assert found() == [*verified, ("new@home.test", 0)]
    assert found("?filter[verified]=true") == verified
    assert found("?filter[verified]=false") == [("new@home.test", 0)]
    assert client.get("/api/v1/recipients?filter[verified]=x").status_code == 422
    one = client.get(f"/api/v1/recipients/{recipient_id(new)}").json()["data"]
    assert (one["email"], one["email_verified_at"]) == ("new@home.test", None)
    theirs = EmailAddress.objects.get(user=root)
    assert client.get(f"/api/v1/recipients/{recipient_id(theirs)}").status_code == 404


def test_the_accounts_limits_are_those_that_hold(
    alice: User, other_org: Domain, api: Api, settings: Settings
) -> None:
    settings.ACCOUNT_MAX_EMAIL_ADDRESSES = 3
    other_org.grant(alice)
    give(domain=other_org, owner=alice)
    client = api(alice)
    for number in range(2):
        EmailAddress.objects.create(user=alice, email=f"alice{number}@home.test")

    account = client.get("/api/v1/account-details").json()["data"]

    # Those that are not verified take a place too.
    assert (account["recipient_count"], account["recipient_limit"]) == (3, 3)
    refused = client.post("/api/v1/recipients", {"email": "alice3@home.test"}, format="json")
    assert (refused.status_code, "more than 3 addresses" in refused.json()["message"]) == (422, True)
    # Only an admin adds one.
    assert (account["active_domain_count"], account["active_domain_limit"]) == (1, 1)
    assert client.post("/api/v1/domains", {"domain": "mine.test"}, format="json").status_code == 403
    assert account["active_shared_domain_alias_limit"] is None


def test_the_version_is_told(alice: User, api: Api) -> None:
    told = api(alice).get("/api/v1/app-version").json()

    assert told["version"] == f"{told['major']}.{told['minor']}.{told['patch']}"


# Besides those of tests/api/statements.txt. Authentication; count; the page; destinations.
