"""One way in which the API refuses a request, and the calls that most of them are about."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.test import Client

from accounts.models import User
from aliases.models import Alias
from tests.api.calls import CREATE
from tokens.models import Token
from tokens.scopes import EVERYTHING

NO_PATH = "There is nothing at this address."
LONG_NOTE = "A note has at most 10,000 characters."
SITE = settings.SITE_URL


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


def create(what: str, status: int, sentence: str, body: Any = b"", query: str = "") -> Row:
    return Row(what, status, sentence, lambda world: world.send("POST", CREATE + query, body))


def call(what: str, status: int, sentence: str, method: str, path: str, body: Any = b"") -> Row:
    return Row(
        what,
        status,
        sentence,
        lambda world: world.send(method, path.replace("{id}", str(world.alias.pk)), body),
    )


def token_of(user: User, **about: Any) -> str:
    """The key of another token that may do everything, unless `about` says otherwise."""
    return f"{user.email}:{Token.objects.issue(owner=user, name='x', **{'scopes': EVERYTHING, **about})[1]}"
