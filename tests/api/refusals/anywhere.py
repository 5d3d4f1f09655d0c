"""Refused whatever is asked for: nothing is there, or something of ours is broken."""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from django.db import OperationalError

from tests.api.calls import CREATE
from tests.api.refusals.rows import NO_PATH, Row, World, call

NO_METHOD = "This method is not allowed here."
AWAY = "The service is not available for a moment. Try again shortly."


def while_broken(target: str, error: Exception) -> Callable[[World], Any]:
    """Ask for an alias while what `target` names fails."""

    def ask(world: World) -> Any:
        with patch(target, side_effect=error):
            return world.send("POST", CREATE)

    return ask


ANYWHERE = [
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
]
