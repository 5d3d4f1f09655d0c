"""SimpleLogin's dialect: its paths, keys and sentences over our verbs (docs/api.md)."""

from typing import Any

from allauth.account.models import EmailAddress
from django.utils.translation import gettext
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias, AliasQuerySet
from aliases.naming import UUID, WORDS
from api.errors import BadInput, NotFound
from api.query import read_query
from api.schema import Call, query
from api.simplelogin.inputs import WRONG_MAILBOX, NewRandomAlias, flag_field, keys_field, text_field
from api.simplelogin.objects import (
    NewAliasObject,
    OldAliasObject,
    activity_object,
    alias_object,
    latest_activities,
    new_alias_object,
)
from api.views import ApiView
from tokens.scopes import Scope

PAGE_SIZE = 20  # SimpleLogin's PAGE_LIMIT
# The deepest page: 20 aliases on each, far beyond anyone's; a database's OFFSET is 63 bits wide.
PAGE_MAX = 1_000_000_000

HOSTNAME = query("hostname", "The web site, in any form: a host, a URL, an app's identifier.")

# SimpleLogin's `mode`; a client that sends anything else gets what its owner prefers.
STYLE_OF_MODE = {"word": WORDS, "uuid": UUID}


def page_number(query: dict[str, str]) -> int:
    """The page asked for, from 0. Raises BadInput."""
    text = query.get("page_id", "")
    # A sign is no digit, and neither is a superscript.
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) > PAGE_MAX:
        raise BadInput(gettext("page_id must be provided in request query: a number from 0."))
    return int(text)


class RandomAlias(ApiView):
    """`POST /api/alias/random/new`: what a password manager asks for."""

    scope = Scope.CREATE

    @Call(
        "Make an alias with a random name",
        NewAliasObject,
        201,
        takes=NewRandomAlias,
        parameters=[
            HOSTNAME,
            query("mode", "`word` or `uuid`; anything else is ignored."),
            query("domain", "One of the domains that you may use; yours by default."),
        ],
        refuses=(403, 404, 409),
    )
    def post(self, request: Request) -> Response:
        query = read_query(request.META.get("QUERY_STRING", ""))
        data = NewRandomAlias.read(self.fields)
        hostname = query.get("hostname")
        alias = issue(
            owner=self.caller,
            made_by_app=True,
            domain=data["domain"] or query.get("domain") or None,
            hostname=hostname if hostname is not None else data["hostname"] or "",
            style=STYLE_OF_MODE.get(query.get("mode", "")),
            destinations=data["destination"],
            note=data["note"],
        )
        return Response(new_alias_object(alias), status=201)


class AliasList(ApiView):
    """`GET` and `POST /api/v2/aliases`: twenty aliases a page, pinned and recent ones first."""

    scope = Scope.CREATE

    def get(self, request: Request) -> Response:
        query = read_query(request.META.get("QUERY_STRING", ""))
        page = page_number(query)
        aliases = filtered(Alias.objects.owned_by(self.caller).present(), query)
        aliases = aliases.search(text_field(self.fields, "query") or "")
        # The page is found in the index alone; only its rows are then read whole.
        keys = self.in_order(aliases).values("pk")[page * PAGE_SIZE : (page + 1) * PAGE_SIZE]
        rows = list(self.in_order(Alias.objects.filter(pk__in=keys).with_destinations()))
        latest = latest_activities(rows) if self.shows_activity else {}
        shown = [alias_object(alias, latest.get(alias.pk), activity=self.shows_activity) for alias in rows]
        return Response({"aliases": shown})

    post = get


class OldAliasList(AliasList):
    """`GET` and `POST /api/aliases`: the same, with the object of SimpleLogin's first version."""

    def get(self, request: Request) -> Response:
        answer = super().get(request)
        answer.data = {
            "aliases": [
                {key: row[key] for key in OldAliasObject.__annotations__} for row in answer.data["aliases"]
            ],
        }
        return answer

    post = get


def filtered(aliases: AliasQuerySet, query: dict[str, str]) -> AliasQuerySet:
    """SimpleLogin's filters: the first flag that is present wins, whatever its value."""
    if "pinned" in query:
        return aliases.filter(pinned=True)
    if "disabled" in query:
        return aliases.filter(enabled=False)
    if "enabled" in query:
        return aliases.filter(enabled=True)
    return aliases


class OneAlias(ApiView):
    """A view of one alias of the caller's; another's does not exist."""

    def alias(self, key: int) -> Alias:
        found = Alias.objects.owned_by(self.caller).present().with_destinations().filter(pk=key).first()
        if found is None:
            raise NotFound(gettext("There is no such alias."))
        return found


class AliasDetail(OneAlias):
    """`GET`, `PUT`, `PATCH` and `DELETE /api/aliases/:id`."""

    scope = {"get": Scope.CREATE, "put": Scope.MANAGE, "patch": Scope.MANAGE, "delete": Scope.MANAGE}

    def get(self, request: Request, key: int) -> Response:
        alias = self.alias(key)
        latest = latest_activities([alias]).get(alias.pk) if self.shows_activity else None
        return Response(alias_object(alias, latest, activity=self.shows_activity))

    def put(self, request: Request, key: int) -> Response:
        alias = self.alias(key)
        data = self.fields
        if not data:
            raise BadInput(gettext("The request's body must not be empty."))
        note, name = text_field(data, "note"), text_field(data, "name")
        flag_field(data, "disable_pgp")
        keys = mailbox_keys(data)
        alias.change(
            # null empties a field, a missing one is left alone
            note="" if note is None and "note" in data else note,
            name="" if name is None and "name" in data else name,
            pinned=flag_field(data, "pinned"),
            destinations=addresses_of(self.caller, keys) if keys else None,
        )
        return Response({"ok": True})

    patch = put

    def delete(self, request: Request, key: int) -> Response:
        self.alias(key).soft_delete()
        return Response({"deleted": True})


def mailbox_keys(data: dict[str, Any]) -> list[int] | None:
    """The ids in `mailbox_ids` or `mailbox_id`; None where neither is there. Raises BadInput."""
    if data.get("mailbox_ids") is not None:
        return keys_field(data, "mailbox_ids")
    if data.get("mailbox_id") is not None:
        return keys_field({"mailbox_id": [data["mailbox_id"]]}, "mailbox_id")
    return None


def addresses_of(user: User, keys: list[int]) -> list[str]:
    """The user's verified addresses with these ids. Raises BadInput, as SimpleLogin does."""
    found = EmailAddress.objects.filter(user=user, verified=True, pk__in=keys)
    emails = {address.pk: address.email for address in found}
    if any(key not in emails for key in keys):
        raise BadInput(WRONG_MAILBOX)
    return [emails[key] for key in keys]


class AliasToggle(OneAlias):
    """`POST /api/aliases/:id/toggle`."""

    scope = Scope.MANAGE

    def post(self, request: Request, key: int) -> Response:
        return Response({"enabled": self.alias(key).toggle()})


class AliasActivities(OneAlias):
    """`GET /api/aliases/:id/activities`: twenty a page, the latest first."""

    scope = Scope.ACTIVITY

    def get(self, request: Request, key: int) -> Response:
        page = page_number(read_query(request.META.get("QUERY_STRING", "")))
        alias = self.alias(key)
        rows = alias.activities.order_by("-moment", "-pk")[page * PAGE_SIZE : (page + 1) * PAGE_SIZE]
        return Response({"activities": [activity_object(row, alias) for row in rows]})
