"""Every way in which the API refuses a request: the status, the sentence, and that nothing was created."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from allauth.account.models import EmailAddress
from django.conf import settings
from django.db import OperationalError
from django.test import Client, override_settings
from django.utils import timezone

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from api.simplelogin.custom_names import suffixes
from domains.models import Domain
from tokens.authentication import WRONG_CREDENTIALS
from tokens.models import Token
from tokens.scopes import EVERYTHING, LABELS, Scope

CREATE = "/api/alias/random/new"
NO_TEXT = "The text contains invalid characters."
NO_JSON = "The request's body is not valid JSON."
NO_OBJECT = "The request's body must be a JSON object."
NO_MAILBOX = "Errors with Mailbox: it is not one of your verified addresses."
NO_PAGE = "page_id must be provided in request query: a number from 0."
NO_ALIAS = "There is no such alias."
NO_PATH = "There is nothing at this address."
NO_METHOD = "This method is not allowed here."
NO_DOMAIN = "There is no such domain with Anonmail on."
FOREIGN = "A destination is not one of your verified addresses. Verify it first, on the page Addresses."
NO_ADDRESS = "A destination is not a valid e-mail address."
TOO_LARGE = "The request is too large. Its body may have at most 256 KiB."
LONG_NOTE = "A note has at most 10,000 characters."
SITE = settings.SITE_URL
NO_CHANGE = f"A token cannot change the addresses that sign in. Use the web page: {SITE}/addresses/"
AWAY = "The service is not available for a moment. Try again shortly."


@dataclass
class World:
    """Whom and what the rows are about."""

    alice: User
    mallory: User
    client: Client
    secret: str
    key: str
    alias: Alias

    def send(self, method: str, path: str, body: Any = b"", key: str | None = None, **extra: Any) -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Authentication": self.key if key is None else key}
        if headers["Authentication"] == "":
            headers = {}
        extra.setdefault("content_type", "application/json")
        return self.client.generic(method, path, data, headers=headers, **extra)


@dataclass(frozen=True)
class Row:
    """One way of being refused."""

    what: str
    status: int
    sentence: str
    ask: Callable[[World], Any] = field(repr=False)


def credentials(what: str, key: Callable[[World], str], **extra: Any) -> Row:
    return Row(
        what, 401, str(WRONG_CREDENTIALS), lambda world: world.send("POST", CREATE, key=key(world), **extra)
    )


def create(what: str, status: int, sentence: str, body: Any = b"", query: str = "") -> Row:
    return Row(what, status, sentence, lambda world: world.send("POST", CREATE + query, body))


def call(what: str, status: int, sentence: str, method: str, path: str, body: Any = b"") -> Row:
    return Row(
        what,
        status,
        sentence,
        lambda world: world.send(method, path.replace("{id}", str(world.alias.pk)), body),
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


def token_of(user: User, **about: Any) -> str:
    """The key of another token that may do everything, unless `about` says otherwise."""
    return f"{user.email}:{Token.objects.issue(owner=user, name='x', **{'scopes': EVERYTHING, **about})[1]}"


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


def without_any_domain(world: World) -> Any:
    key = token_of(world.mallory)
    return world.send("POST", CREATE, key=key)


def strangers(method: str, path: str, body: Any = b"") -> Callable[[World], Any]:
    def ask(world: World) -> Any:
        key = token_of(world.mallory)
        return world.send(method, path.replace("{id}", str(world.alias.pk)), body, key=key)

    return ask


def after_deletion(world: World) -> Any:
    world.alias.soft_delete()
    return world.send("GET", f"/api/aliases/{world.alias.pk}")


def unverified_destination(world: World) -> Any:
    EmailAddress.objects.create(user=world.alice, email="new@home.test")
    return world.send("POST", CREATE, {"destination": "new@home.test"})


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


def unverified_mailbox(world: World) -> Any:
    address = EmailAddress.objects.create(user=world.alice, email="new@home.test")
    return world.send("PUT", f"/api/aliases/{world.alias.pk}", {"mailbox_ids": [address.pk]})


def strangers_mailbox(world: World) -> Any:
    address = EmailAddress.objects.get(user=world.mallory)
    return world.send("PUT", f"/api/aliases/{world.alias.pk}", {"mailbox_id": address.pk})


def change_of_a_mailbox(body: Any) -> Callable[[World], Any]:
    def ask(world: World) -> Any:
        home = EmailAddress.objects.create(user=world.alice, email="alice@home.test", verified=True)
        return world.send("PUT", f"/api/mailboxes/{home.pk}", body)

    return ask


def while_broken(target: str, error: Exception) -> Callable[[World], Any]:
    """Ask for an alias while what `target` names fails."""

    def ask(world: World) -> Any:
        with patch(target, side_effect=error):
            return world.send("POST", CREATE)

    return ask


def too_many(world: World) -> Any:
    with override_settings(ALIASES_PER_HOUR=1):
        world.send("POST", CREATE)
        Alias.objects.exclude(pk=world.alias.pk).delete()
        return world.send("POST", CREATE)


def too_many_taken(world: World) -> Any:
    with override_settings(TAKEN_PER_DAY=0):
        body = {"alias_prefix": "a", "signed_suffix": suffixes(world.alice)[0]["signed_suffix"]}
        return world.send("POST", "/api/v2/alias/custom/new", body)


def quota(world: World) -> Any:
    Domain.objects.update(alias_quota=1)
    return world.send("POST", CREATE)


def with_signup_open(world: World) -> Any:
    with override_settings(SIGNUP_OPEN=True):
        return world.send("POST", "/api/auth/register", {"email": "new@home.test", "password": "x"})


TABLE = [
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
    Row(
        "no usable domain",
        403,
        "There is no domain on which you may create aliases. Ask an admin for access to one.",
        without_any_domain,
    ),
    create(
        "a domain without the right",
        403,
        "You have no access to this domain. Ask its manager for it.",
        {"domain": "other.org"},
    ),
    create("an unknown domain", 404, NO_DOMAIN, {"domain": "unknown.test"}),
    create("an unknown domain in the query", 404, NO_DOMAIN, query="?domain=unknown.test"),
    create("a domain with Anonmail off", 404, NO_DOMAIN, {"domain": "off.test"}),
    create("a domain that is none", 404, NO_DOMAIN, {"domain": "no domain"}),
    create("a domain with a NUL", 404, NO_DOMAIN, {"domain": "example.com\x00"}),
    create("a domain with half a surrogate pair", 404, NO_DOMAIN, b'{"domain": "\\ud800.test"}'),
    create("a domain of 10,000 characters", 404, NO_DOMAIN, {"domain": "x" * 10_000}),
    create("a domain that is no text", 400, "The field “domain” must be a string.", {"domain": 7}),
    Row(
        "the domain's quota is used up",
        403,
        "You already have 1 alias on this domain, as many as it allows.",
        quota,
    ),
    create("a destination of somebody else", 403, FOREIGN, {"destination": "mallory@evil.test"}),
    create("a destination of nobody", 403, FOREIGN, {"destination": "nobody@nowhere.test"}),
    create(
        "one of two destinations is not mine",
        403,
        FOREIGN,
        {"destination": ["alice@example.com", "a@b.test"]},
    ),
    Row("an unverified destination", 403, FOREIGN, unverified_destination),
    create("a destination that is no address", 400, NO_ADDRESS, {"destination": "nonsense"}),
    create("an empty destination", 400, NO_ADDRESS, {"destination": ""}),
    create(
        "a destination with a line end", 400, NO_ADDRESS, {"destination": "alice@example.com\nBcc: x@y.test"}
    ),
    create("a destination with a NUL", 400, NO_ADDRESS, {"destination": "alice@example.com\x00"}),
    create("a destination with half a surrogate pair", 400, NO_ADDRESS, b'{"destination": "\\ud800@x.test"}'),
    create("a destination of 10,000 characters", 400, NO_ADDRESS, {"destination": "x" * 10_000 + "@x.test"}),
    create("no destination in the array", 400, "Enter at least one destination.", {"destination": []}),
    create(
        "a destination that is no text",
        400,
        "The field “destination” must be a string or an array of strings.",
        {"destination": {"a": 1}},
    ),
    create(
        "an array with something else",
        400,
        "The field “destination” must be a string or an array of strings.",
        {"destination": ["alice@example.com", None]},
    ),
    create(
        "21 destinations",
        400,
        "An alias has at most 20 destinations.",
        {"destination": [f"a{number}@example.com" for number in range(21)]},
    ),
    create("a note that is no text", 400, "The field “note” must be a string.", {"note": ["x"]}),
    create("a note of 10,001 characters", 400, LONG_NOTE, {"note": "x" * 10_001}),
    create("a note with a NUL", 400, NO_TEXT, {"note": "a\x00b"}),
    create("a note with half a surrogate pair", 400, NO_TEXT, b'{"note": "\\ud800"}'),
    create("malformed JSON", 400, NO_JSON, b'{"note": '),
    create("no JSON at all", 400, NO_JSON, b"note=x"),
    create("bytes that are no UTF-8", 400, NO_JSON, b'{"note": "\xff"}'),
    create("NaN", 400, NO_JSON, b'{"note": NaN}'),
    create("a number of 5,000 digits", 400, NO_JSON, b'{"x": ' + b"9" * 5000 + b"}"),
    create("100,000 nested arrays", 400, NO_JSON, b"[" * 100_000),
    create("an array", 400, NO_OBJECT, []),
    create("a text", 400, NO_OBJECT, "note"),
    create("null", 400, NO_OBJECT, None),
    create("a body over 256 KiB", 413, TOO_LARGE, b" " * (256 * 1024 + 1)),
    Row(
        "too many creations",
        429,
        "You have created too many aliases for now. Try again in 60 minutes.",
        too_many,
    ),
    Row(
        "too many names that others have",
        429,
        "You have tried too many addresses that are taken. Try again in 24 hours.",
        too_many_taken,
    ),
    Row(
        "the database away while the key is looked up",
        503,
        AWAY,
        while_broken("core.db.compiled.CompiledQuery.__call__", OperationalError("alice@example.com")),
    ),
    Row(
        "the database away while the alias is made",
        503,
        AWAY,
        while_broken("api.simplelogin.aliases.issue", OperationalError("alice@example.com")),
    ),
    Row(
        "a crash of ours",
        500,
        "Something went wrong on our side. It is logged; try again later.",
        while_broken("api.simplelogin.aliases.issue", RuntimeError("alice@example.com")),
    ),
    Row(
        "a Host that is not ours",
        400,
        "The request is malformed.",
        lambda world: world.send("POST", CREATE, HTTP_HOST="evil.test"),
    ),
    call("an unknown path", 404, NO_PATH, "GET", "/api/nothing"),
    call("nothing after /api/", 404, NO_PATH, "GET", "/api/"),
    call("an unknown method", 405, NO_METHOD, "GET", CREATE),
    call("a method of another path", 405, NO_METHOD, "DELETE", "/api/v2/aliases"),
    call("a method that nobody knows", 405, NO_METHOD, "BREW", "/api/user_info"),
    *(
        call(
            f"page_id={page}" if page else "no page_id",
            400,
            NO_PAGE,
            "GET",
            f"/api/v2/aliases?page_id={page}",
        )
        for page in ("", "-1", "x", "%C2%B2", "1e3", "9" * 30)
    ),
    call(
        "a search that is no text",
        400,
        "The field “query” must be a string.",
        "POST",
        "/api/v2/aliases?page_id=0",
        {"query": 1},
    ),
    call("an id that nobody has", 404, NO_ALIAS, "GET", "/api/aliases/999999"),
    call("an id of 40 digits", 404, NO_PATH, "GET", f"/api/aliases/{'9' * 40}"),
    Row("a deleted alias", 404, NO_ALIAS, after_deletion),
    Row("somebody else's alias, read", 404, NO_ALIAS, strangers("GET", "/api/aliases/{id}")),
    Row(
        "somebody else's alias, changed", 404, NO_ALIAS, strangers("PUT", "/api/aliases/{id}", {"note": "x"})
    ),
    Row(
        "somebody else's alias, patched",
        404,
        NO_ALIAS,
        strangers("PATCH", "/api/aliases/{id}", {"note": "x"}),
    ),
    Row("somebody else's alias, deleted", 404, NO_ALIAS, strangers("DELETE", "/api/aliases/{id}")),
    Row("somebody else's alias, toggled", 404, NO_ALIAS, strangers("POST", "/api/aliases/{id}/toggle")),
    call("a change without a body", 400, "The request's body must not be empty.", "PUT", "/api/aliases/{id}"),
    call("a note too long", 400, LONG_NOTE, "PATCH", "/api/aliases/{id}", {"note": "x" * 10_001}),
    call(
        "a name too long",
        400,
        "A name has at most 128 characters.",
        "PATCH",
        "/api/aliases/{id}",
        {"name": "x" * 129},
    ),
    call(
        "pinned that is no truth value",
        400,
        "The field “pinned” must be true or false.",
        "PATCH",
        "/api/aliases/{id}",
        {"pinned": "yes"},
    ),
    call("a mailbox that nobody has", 400, NO_MAILBOX, "PUT", "/api/aliases/{id}", {"mailbox_id": 999999}),
    Row("a mailbox of somebody else", 400, NO_MAILBOX, strangers_mailbox),
    Row("an unverified mailbox", 400, NO_MAILBOX, unverified_mailbox),
    call("a mailbox id beyond 63 bits", 400, NO_MAILBOX, "PUT", "/api/aliases/{id}", {"mailbox_id": 2**63}),
    call("a mailbox id that is no number", 400, NO_MAILBOX, "PUT", "/api/aliases/{id}", {"mailbox_id": "x"}),
    call(
        "mailboxes that are no array",
        400,
        "Must choose at least one mailbox.",
        "PUT",
        "/api/aliases/{id}",
        {"mailbox_ids": 1},
    ),
    call(
        "mailboxes that are none",
        400,
        NO_MAILBOX,
        "PUT",
        "/api/aliases/{id}",
        {"mailbox_ids": ["x", True, -1]},
    ),
    call(
        "no mailbox",
        400,
        "Must choose at least one mailbox.",
        "PUT",
        "/api/aliases/{id}",
        {"mailbox_ids": []},
    ),
    # What is done on the web page alone.
    call(
        "an account made by an app",
        400,
        "Only an admin can create accounts on this server.",
        "POST",
        "/api/auth/register",
    ),
    Row(
        "an account made by an app, where signing up is open",
        400,
        f"Make your account on the web page: {SITE}/accounts/signup/",
        with_signup_open,
    ),
    *(
        call(
            f"{deed} by an app",
            400,
            f"Open the link in the mail. Signing in on the web page sends it again: {SITE}/accounts/login/",
            "POST",
            path,
        )
        for deed, path in (
            ("an account activated", "/api/auth/activate"),
            ("the mail sent again", "/api/auth/reactivate"),
        )
    ),
    call(
        "a forgotten password",
        400,
        f"Ask for a new password on the web page: {SITE}/accounts/password/reset/",
        "POST",
        "/api/auth/forgot_password",
        {"email": "alice@example.com"},
    ),
    call(
        "more rights for a token",
        403,
        f"A token cannot get more rights. Use the web page: {SITE}/account/",
        "PATCH",
        "/api/sudo",
        {"password": "alice-password-1"},
    ),
    call(
        "the account deleted by a token",
        440,
        f"Need sudo: delete your account on the web page: {SITE}/account/delete/",
        "DELETE",
        "/api/user",
    ),
    call(
        "a session for a token",
        403,
        f"A token cannot sign in to the web page. Sign in there: {SITE}/accounts/login/",
        "GET",
        "/api/user/cookie_token",
    ),
    Row("another default mailbox", 403, NO_CHANGE, change_of_a_mailbox({"default": True})),
    Row("another address of a mailbox", 403, NO_CHANGE, change_of_a_mailbox({"email": "a@b.test"})),
    call(
        "a Proton account",
        400,
        "No Proton account is linked.",
        "DELETE",
        "/api/setting/unlink_proton_account",
    ),
    call(
        "a notification marked as read",
        403,
        f"This stays until the address accepts mail again: {SITE}/addresses/",
        "POST",
        "/api/notifications/1/read",
    ),
]


@pytest.fixture
def world(alice: User, mallory: User, other_org: Domain) -> World:
    Domain.objects.create(name="off.test")
    _token, secret = Token.objects.issue(owner=alice, name="tests", scopes=EVERYTHING)
    alias = issue(owner=alice)
    client = Client(raise_request_exception=False)
    return World(alice, mallory, client, secret, f"{alice.email}:{secret}", alias)


@pytest.mark.django_db
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.what)
def test_every_refusal_has_its_status_and_sentence_and_creates_nothing(world: World, row: Row) -> None:
    before = list(Alias.objects.exclude(deleted_at__isnull=False).values("pk", "note", "name", "enabled"))

    answer = row.ask(world)

    assert answer.status_code == row.status
    assert answer["Content-Type"] == "application/json"
    assert answer.json() == {"error": row.sentence}
    assert ("WWW-Authenticate" in answer) == (row.status == 401)
    assert ("Retry-After" in answer) == (row.status in {429, 503})
    assert not answer.cookies
    if row.what != "a deleted alias":
        assert list(Alias.objects.values("pk", "note", "name", "enabled")) == before
