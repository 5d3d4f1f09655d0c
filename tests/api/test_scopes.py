"""What each call of the API needs of its token, and what is left out for a token that lacks it."""

import json
from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.conf import settings
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from mail.models import Activity
from tests.api.calls import V1
from tests.api.endpoints import CALLS, KEYED, named, views
from tests.conftest import Api
from tokens.models import Token
from tokens.scopes import ANY_TOKEN, EVERYTHING, Scope

pytestmark = pytest.mark.django_db

# Bitwarden's two calls, and what an app reads to show them.
CREATE = {
    ("POST", "/api/alias/random/new"),
    ("POST", "/api/v3/alias/custom/new"),
    ("POST", "/api/v2/alias/custom/new"),
    ("GET", "/api/v5/alias/options"),
    ("GET", "/api/v4/alias/options"),
    ("GET", "/api/v2/aliases"),
    ("POST", "/api/v2/aliases"),
    ("GET", "/api/aliases"),
    ("POST", "/api/aliases"),
    ("GET", "/api/aliases/{id}"),
    ("GET", "/api/mailboxes"),
    ("GET", "/api/v2/mailboxes"),
    ("GET", "/api/setting"),
    ("GET", "/api/v2/setting/domains"),
    ("GET", "/api/setting/domains"),
    ("GET", "/api/custom_domains"),
    ("GET", "/api/custom_domains/1/trash"),
    ("GET", f"{V1}/aliases"),
    ("POST", f"{V1}/aliases"),
    ("GET", f"{V1}/aliases/{{uuid}}"),
    ("POST", f"{V1}/aliases/get/bulk"),
    ("GET", f"{V1}/domain-options"),
    ("GET", f"{V1}/account-details"),
    ("GET", f"{V1}/recipients"),
    *(("GET", f"{V1}/{word}") for word in ("usernames", "domains", "account-notifications")),
    *(("GET", f"{V1}/{word}s/{{{word}}}") for word in ("username", "domain")),
    ("GET", f"{V1}/recipients/{{recipient}}"),
}
ACTIVITY = {
    ("GET", f"{V1}/blocklist"),
    ("GET", f"{V1}/chart-data"),
    ("GET", f"{V1}/failed-deliveries"),
    ("GET", f"{V1}/failed-deliveries/{{failed}}"),
    ("GET", f"{V1}/failed-deliveries/{{failed}}/download"),
    ("GET", "/api/aliases/{id}/activities"),
    ("GET", "/api/aliases/{id}/contacts"),
    ("GET", "/api/notifications"),
    ("POST", "/api/notifications/1/read"),
    ("GET", "/api/stats"),
}
# Who the token belongs to, its own end, and what is refused to every token.
ANY = {
    ("GET", "/api/user_info"),
    ("GET", "/api/logout"),
    ("POST", "/api/auth/logout"),
    ("POST", "/api/auth/delete-account"),
    ("POST", "/api/api_key"),
    ("PATCH", "/api/sudo"),
    ("DELETE", "/api/user"),
    ("GET", "/api/user/cookie_token"),
    ("DELETE", "/api/setting/unlink_proton_account"),
    ("GET", f"{V1}/api-token-details"),
    ("GET", f"{V1}/app-version"),
}


def needed(method: str, path: str) -> Scope:
    """What the call needs, as the tables above say; what they do not name changes something."""
    call = (method, path.partition("?")[0])
    for calls, scope in ((CREATE, Scope.CREATE), (ACTIVITY, Scope.ACTIVITY), (ANY, ANY_TOKEN)):
        if call in calls:
            return scope
    return Scope.MANAGE


def client_with(user: User, scopes: Scope) -> APIClient:
    _token, secret = Token.objects.issue(owner=user, name="x", scopes=scopes)
    client = APIClient(HTTP_AUTHENTICATION=f"{user.email}:{secret}")
    client.raise_request_exception = False
    return client


def test_the_tables_name_calls_that_there_are() -> None:
    assert {(method, path.partition("?")[0]) for method, path, _body in CALLS} >= CREATE | ACTIVITY | ANY


def test_every_view_says_what_each_of_its_methods_needs() -> None:
    for view in views().values():
        methods = {method.lower() for method in view().allowed_methods} - {"options"}
        if view.scope is None:
            assert view.authentication_classes == ()
        elif isinstance(view.scope, dict):
            assert set(view.scope) == methods
            assert all(isinstance(scope, Scope) for scope in view.scope.values())
        else:
            assert isinstance(view.scope, Scope)
        assert view.permission_classes, view


@pytest.mark.parametrize("method", ["QUERY", "FIELDS", "SCOPE"])
def test_a_method_that_is_named_like_an_attribute_of_the_view_is_not_allowed(
    alice: User, method: str
) -> None:
    alias = issue(owner=alice)

    answer = client_with(alice, EVERYTHING).generic(method, f"{V1}/aliases/{alias.uuid}")

    assert answer.status_code == 405


@pytest.mark.parametrize(("method", "path", "body"), KEYED)
def test_a_call_needs_its_right_and_no_other(alice: User, method: str, path: str, body: Any) -> None:
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    alias = issue(owner=alice)
    scope = needed(method, path)
    path = path.format(**named(alias, home))
    text = json.dumps(body or {}).replace("{uuid}", str(alias.uuid))
    everything = client_with(alice, EVERYTHING)
    exact = client_with(alice, scope or Scope.CREATE)
    lacking = client_with(alice, EVERYTHING & ~scope)
    before = list(Alias.objects.values()), list(EmailAddress.objects.values())

    refused = lacking.generic(method, path, text, "application/json")

    if scope:
        label = {
            Scope.CREATE: "Create and list",
            Scope.MANAGE: "Manage",
            Scope.ACTIVITY: "Read mail activity",
        }
        sentence = (
            f"This token lacks the right “{label[scope]}”. Make a token that has it on the page "
            f"Authentication tokens: {settings.SITE_URL}/tokens/new/"
        )
        # Never 401: an extension would throw its key away.
        assert refused.status_code == 403
        assert refused.json() == {"message" if path.startswith(V1) else "error": sentence}
        assert (list(Alias.objects.values()), list(EmailAddress.objects.values())) == before
    allowed = exact.generic(method, path, text, "application/json")
    assert "lacks the right" not in b"".join(getattr(allowed, "streaming_content", [])).decode() + (
        "" if allowed.streaming else allowed.content.decode()
    )
    assert allowed.status_code == everything.generic(method, path, text, "application/json").status_code or (
        method in {"DELETE", "POST"} or path.endswith("/logout")
    )


def test_head_needs_what_get_needs_and_a_missing_method_is_405(alice: User) -> None:
    client = client_with(alice, Scope.CREATE)

    assert client.head("/api/stats").status_code == 403
    assert client.head("/api/setting").status_code == 200
    assert client.delete("/api/stats").status_code == 405
    assert client.options("/api/stats").status_code == 204


@pytest.fixture
def busy(alice: User) -> tuple[Alias, Alias]:
    """Two aliases; the older one had mail a moment ago."""
    old, new = issue(owner=alice), issue(owner=alice)
    later = timezone.now() + timedelta(minutes=1)
    Alias.objects.filter(pk=old.pk).update(forwards=3, blocks=2, replies=1, active_at=later)
    Activity.objects.create(alias=old, event="forward", sender="shop@sender.test")
    return old, new


def test_without_activity_simplelogins_lists_tell_no_mail(alice: User, busy: tuple[Alias, Alias]) -> None:
    old, new = busy
    client = client_with(alice, Scope.CREATE)

    lists = [
        client.get("/api/v2/aliases?page_id=0").json()["aliases"],
        client.get("/api/aliases?page_id=0").json()["aliases"],
    ]
    one = client.get(f"/api/aliases/{old.pk}").json()

    for rows in lists:
        # The order would tell too which one had mail.
        assert [row["id"] for row in rows] == [new.pk, old.pk]
    for row in (lists[0][1], one):
        assert (row["nb_forward"], row["nb_block"], row["nb_reply"]) == (0, 0, 0)
        assert row["latest_activity"] is None
    assert lists[1][1]["nb_forward"] == 0
    told = (
        client_with(alice, Scope.CREATE | Scope.ACTIVITY).get("/api/v2/aliases?page_id=0").json()["aliases"]
    )
    assert [row["id"] for row in told] == [old.pk, new.pk]
    assert told[0]["nb_forward"] == 3
    assert told[0]["latest_activity"]["contact"]["email"] == "shop@sender.test"


@pytest.mark.parametrize(
    "sort",
    [
        "",
        *(
            f"{sign}{name}"
            for sign in ("", "-")
            for name in (
                "last_forwarded",
                "last_blocked",
                "last_used",
                "updated_at",
                "emails_forwarded",
                "emails_blocked",
                "emails_replied",
            )
        ),
    ],
)
def test_without_activity_addys_lists_tell_no_mail_in_any_order(
    alice: User, busy: tuple[Alias, Alias], sort: str
) -> None:
    old, new = busy
    client = client_with(alice, Scope.CREATE)
    query = {"sort": sort} if sort else {}

    rows = client.get(f"{V1}/aliases", query).json()["data"]

    assert [row["email"] for row in rows] == [new.address, old.address]
    one = client.get(f"{V1}/aliases/{old.uuid}").json()["data"]
    some = client.post(f"{V1}/aliases/get/bulk", {"ids": [str(old.uuid)]}, format="json").json()["data"]
    changed = client_with(alice, Scope.MANAGE).patch(
        f"{V1}/aliases/{old.uuid}", {"description": "x"}, format="json"
    )
    for row in (rows[1], one, some[0], changed.json()["data"]):
        assert {row[f"emails_{deed}"] for deed in ("forwarded", "blocked", "replied", "sent")} == {0}
        assert {row[f"last_{deed}"] for deed in ("forwarded", "blocked", "replied", "sent")} == {None}
        assert row["updated_at"] == row["created_at"]
    account = client.get(f"{V1}/account-details").json()["data"]
    assert {account[f"total_emails_{deed}"] for deed in ("forwarded", "blocked", "replied", "sent")} == {0}
    assert account["total_aliases"] == 2


def test_the_token_tells_its_rights(alice: User) -> None:
    details = client_with(alice, Scope.CREATE | Scope.ACTIVITY).get(f"{V1}/api-token-details").json()

    assert details["scopes"] == ["create", "activity"]


def test_a_revoked_or_foreign_token_is_told_401_whatever_its_rights(
    alice: User, mallory: User, api: Api
) -> None:
    client = client_with(alice, Scope.CREATE)
    Token.objects.all().delete()

    assert client.get("/api/stats").status_code == 401
