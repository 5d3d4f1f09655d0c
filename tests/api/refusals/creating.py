"""Refused where an alias is to be made: the domain, the destination, the note, the body, too many."""

from typing import Any

from allauth.account.models import EmailAddress
from django.test import override_settings

from aliases.models import Alias
from api.simplelogin.custom_names import suffixes
from domains.models import Domain
from tests.api.calls import CREATE
from tests.api.refusals.rows import LONG_NOTE, Row, World, create, token_of

NO_TEXT = "The text contains invalid characters."
NO_JSON = "The request's body is not valid JSON."
NO_OBJECT = "The request's body must be a JSON object."
NO_DOMAIN = "There is no such domain with Anonmail on."
FOREIGN = "A destination is not one of your verified addresses. Verify it first, on the page Addresses."
NO_ADDRESS = "A destination is not a valid e-mail address."
TOO_LARGE = "The request is too large. Its body may have at most 256 KiB."


def without_any_domain(world: World) -> Any:
    key = token_of(world.mallory)
    return world.send("POST", CREATE, key=key)


def quota(world: World) -> Any:
    Domain.objects.update(alias_quota=1)
    return world.send("POST", CREATE)


def unverified_destination(world: World) -> Any:
    EmailAddress.objects.create(user=world.alice, email="new@home.test")
    return world.send("POST", CREATE, {"destination": "new@home.test"})


def too_many(world: World) -> Any:
    with override_settings(ALIASES_PER_HOUR=1):
        world.send("POST", CREATE)
        Alias.objects.exclude(pk=world.alias.pk).delete()
        return world.send("POST", CREATE)


def too_many_taken(world: World) -> Any:
    with override_settings(TAKEN_PER_DAY=0):
        body = {"alias_prefix": "a", "signed_suffix": suffixes(world.alice)[0]["signed_suffix"]}
        return world.send("POST", "/api/v2/alias/custom/new", body)


CREATING = [
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
]
