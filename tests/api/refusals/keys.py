"""Refused for the key, or for what its token may not do."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from allauth.account.models import EmailAddress
from django.test import override_settings
from django.utils import timezone

from accounts.models import User
from tests.api.calls import CREATE
from tests.api.refusals.rows import SITE, Row, World, token_of
from tokens.authentication import WRONG_CREDENTIALS
from tokens.models import Token
from tokens.scopes import EVERYTHING, LABELS, Scope


def credentials(what: str, key: Callable[[World], str], **extra: Any) -> Row:
    return Row(
        what, 401, str(WRONG_CREDENTIALS), lambda world: world.send("POST", CREATE, key=key(world), **extra)
    )


def expired(world: World) -> str:
    hour_ago = timezone.now() - timedelta(hours=1)
    return token_of(world.alice, expires=hour_ago)


def from_elsewhere(world: World) -> str:
    return token_of(world.alice, networks=["192.0.2.0/24"])


def of_an_inactive_owner(world: World) -> str:
    User.objects.filter(pk=world.alice.pk).update(is_active=False)
    return world.key


def made_before_deactivation(world: World) -> str:
    world.alice.deactivate()
    world.alice.activate()
    return world.key


def revoked(world: World) -> str:
    for token in Token.objects.owned_by(world.alice):
        token.revoke()
    return world.key


def with_an_unverified_address(world: World) -> str:
    EmailAddress.objects.create(user=world.alice, email="new@home.test")
    return f"new@home.test:{world.secret}"


def with_the_sites_session(world: World) -> Any:
    world.client.force_login(world.alice)
    return world.send("POST", CREATE, key="")


def in_authorization(scheme: str) -> Callable[[World], Any]:
    def ask(world: World) -> Any:
        return world.send("POST", CREATE, key="", HTTP_AUTHORIZATION=f"{scheme} {world.key}")

    return ask


def too_many_wrong_keys(world: World) -> Any:
    with override_settings(AUTH_FAILURES_PER_ACCOUNT_PER_HOUR=0):
        return world.send("POST", CREATE, key=f"{world.alice.email}:{'x' * 48}")


def lacking(label: str, method: str, path: str) -> Row:
    """A call by a token that has every right but the one that it needs."""
    scope = next(scope for scope in Scope if str(LABELS[scope]) == label)

    def ask(world: World) -> Any:
        key = token_of(world.alice, scopes=EVERYTHING & ~scope)
        return world.send(method, path.replace("{id}", str(world.alias.pk)), key=key)

    return Row(
        f"a token without the right “{label}”",
        403,
        f"This token lacks the right “{label}”. Make a token that has it on the page Authentication tokens: "
        f"{SITE}/tokens/new/",
        ask,
    )


KEYS = [
    credentials("no key", lambda world: ""),
    credentials("an empty key", lambda world: " "),
    credentials("no token after the colon", lambda world: f"{world.alice.email}:"),
    credentials("another token", lambda world: f"{world.alice.email}:{'x' * 48}"),
    credentials("a token of no token's shape", lambda world: f"{world.alice.email}:{world.secret}!"),
    credentials("an unknown e-mail part", lambda world: f"nobody@example.com:{world.secret}"),
    credentials("another user's e-mail part", lambda world: f"{world.mallory.email}:{world.secret}"),
    credentials("an unverified e-mail part", with_an_unverified_address),
    credentials("an e-mail part that is none", lambda world: f"alice:{world.secret}"),
    credentials("a key of 100,000 characters", lambda world: "x" * 100_000),
    credentials("a key with a NUL", lambda world: f"{world.alice.email}\x00:{world.secret}"),
    credentials("an expired token", expired),
    credentials("a token that is bound to another network", from_elsewhere),
    credentials("a spoofed X-Forwarded-For", from_elsewhere, HTTP_X_FORWARDED_FOR="192.0.2.1"),
    credentials("an inactive owner", of_an_inactive_owner),
    credentials("a token from before the owner was deactivated", made_before_deactivation),
    credentials("a revoked token", revoked),
    Row("Authorization of another scheme", 401, str(WRONG_CREDENTIALS), in_authorization("Token")),
    Row("the site's own session instead of a key", 401, str(WRONG_CREDENTIALS), with_the_sites_session),
    Row(
        "too many wrong keys",
        429,
        "Too many wrong API keys. Correct the key and try again later.",
        too_many_wrong_keys,
    ),
    lacking("Create and list", "POST", CREATE),
    lacking("Manage", "DELETE", "/api/aliases/{id}"),
    lacking("Read mail activity", "GET", "/api/aliases/{id}/activities?page_id=0"),
]
