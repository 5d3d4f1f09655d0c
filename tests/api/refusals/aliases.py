"""Refused of a list of aliases, or of one: the page, whose it is, and the change."""

from collections.abc import Callable
from typing import Any

from allauth.account.models import EmailAddress

from tests.api.refusals.rows import LONG_NOTE, NO_PATH, Row, World, call, token_of

NO_MAILBOX = "Errors with Mailbox: it is not one of your verified addresses."
NO_PAGE = "page_id must be provided in request query: a number from 0."
NO_ALIAS = "There is no such alias."


def strangers(method: str, path: str, body: Any = b"") -> Callable[[World], Any]:
    def ask(world: World) -> Any:
        key = token_of(world.mallory)
        return world.send(method, path.replace("{id}", str(world.alias.pk)), body, key=key)

    return ask


def after_deletion(world: World) -> Any:
    world.alias.soft_delete()
    return world.send("GET", f"/api/aliases/{world.alias.pk}")


def unverified_mailbox(world: World) -> Any:
    address = EmailAddress.objects.create(user=world.alice, email="new@home.test")
    return world.send("PUT", f"/api/aliases/{world.alias.pk}", {"mailbox_ids": [address.pk]})


def strangers_mailbox(world: World) -> Any:
    address = EmailAddress.objects.get(user=world.mallory)
    return world.send("PUT", f"/api/aliases/{world.alias.pk}", {"mailbox_id": address.pk})


ALIASES = [
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
]
