"""SimpleLogin's calls for aliases."""

from functools import partial
from typing import Any

from allauth.account.models import EmailAddress
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext
from rest_framework.request import Request

from accounts.models import User
from aliases.choosing import preferences_of
from aliases.issuing import issue
from aliases.models import Alias, AliasQuerySet
from aliases.naming import UUID, WORDS
from api.answers import Answer
from api.errors import BadInput, NotFound
from api.listing import in_order, page_rows, with_destinations, with_keys
from api.schema import Call, query
from api.simplelogin import activities, inputs, objects
from api.views import ApiView
from core.db.compiled import CompiledQuery
from tokens.scopes import Scope

PAGE_SIZE = 20  # SimpleLogin's PAGE_LIMIT

# SimpleLogin's `mode`; a client that sends anything else gets what its owner prefers.
STYLE_OF_MODE = {"word": WORDS, "uuid": UUID}
CONDITION_OF_FLAG = {"pinned": Q(pinned=True), "disabled": Q(enabled=False), "enabled": Q(enabled=True)}


class RandomAlias(ApiView):
    """What a password manager asks for."""

    scope = Scope.CREATE
    chooses_domain = True

    @Call(
        "Make an alias with a random name",
        objects.NewAliasObject,
        201,
        takes=inputs.NewRandomAlias,
        parameters=[
            inputs.HOSTNAME,
            query("mode", "`word` or `uuid`; anything else is ignored."),
            query("domain", "One of the domains that you may use; yours by default."),
        ],
        refuses=(403, 404, 409),
    )
    def post(self, request: Request) -> Answer:
        query, data = self.query, inputs.NewRandomAlias.read(self.fields)
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
        return Answer(objects.new_alias_object(alias), status=201)


def filtered(aliases: AliasQuerySet, query: dict[str, str]) -> AliasQuerySet:
    """SimpleLogin's filters: the first flag that is present wins, whatever its value."""
    for name, condition in CONDITION_OF_FLAG.items():
        if name in query:
            return aliases.filter(condition)
    return aliases


def page_of(aliases: AliasQuerySet, start: Any, *, activity: bool) -> Any:
    extend = activities.with_latest_activity if activity else AliasQuerySet.all
    columns = objects.LISTED_WITH_ACTIVITY if activity else objects.LISTED
    return page_rows(aliases, start, PAGE_SIZE, in_order(activity=activity), columns, extend)


def _whole_list(owner: Any, start: Any, *, activity: bool) -> Any:
    return page_of(Alias.objects.owned_by(owner).present(), start, activity=activity)


# Without and with activity.
_WHOLE_LIST = [
    CompiledQuery(
        partial(_whole_list, activity=activity),
        owner=models.BigIntegerField(),
        start=models.BigIntegerField(),
    )
    for activity in (False, True)
]


class AliasList(ApiView):
    scope = Scope.CREATE

    def page(self) -> list[objects.AliasObject]:
        """The page that the query string asks for."""
        query, activity = self.query, self.shows_activity
        start = inputs.page_number(query, "page_id") * PAGE_SIZE
        text = inputs.AliasSearch.read(self.fields)["query"]
        if text or not CONDITION_OF_FLAG.keys().isdisjoint(query):
            aliases = filtered(Alias.objects.owned_by(self.caller).present(), query).search(text or "")
            rows = page_of(aliases, start, activity=activity)
        else:
            rows = _WHOLE_LIST[activity](owner=self.caller.pk, start=start)
        sender_format = preferences_of(self.caller).sender_format
        return [
            objects.listed_object(*row, activity=activity, sender_format=sender_format)
            for row in with_destinations(rows)
        ]

    @Call(
        "List aliases, twenty a page, pinned and recent ones first",
        {"aliases": list[objects.AliasObject]},
        takes=inputs.AliasSearch,
        parameters=[inputs.PAGE_ID, *inputs.FLAGS],
    )
    def get(self, request: Request) -> Answer:
        return Answer({"aliases": self.page()})

    post = get


class OldAliasList(AliasList):
    @Call(
        "List aliases, with the object of SimpleLogin's first version",
        {"aliases": list[objects.OldAliasObject]},
        takes=inputs.AliasSearch,
        parameters=[inputs.PAGE_ID, *inputs.FLAGS],
    )
    def get(self, request: Request) -> Answer:
        return Answer({"aliases": [objects.old_alias_object(alias) for alias in self.page()]})

    post = get


class AliasView(ApiView):
    """A call about one of the caller's aliases."""

    def alias(self, key: int) -> Alias:
        """The alias with this id. Raises NotFound if it is not the caller's."""
        found = with_keys(Alias.objects.owned_by(self.caller).present()).filter(pk=key).first()
        if found is None:
            raise NotFound(gettext("There is no such alias."))
        return found


class AliasDetail(AliasView):
    scope = {"get": Scope.CREATE, "put": Scope.MANAGE, "patch": Scope.MANAGE, "delete": Scope.MANAGE}

    @Call("One alias", objects.AliasObject)
    def get(self, request: Request, key: int) -> Answer:
        alias = self.alias(key)
        rows = activities.latest_first(alias.activities.all())
        row = rows.first() if self.shows_activity else None
        latest = activities.LatestActivity.of(row) if row else None
        sender_format = preferences_of(self.caller).sender_format
        return Answer(
            objects.alias_object(alias, latest, activity=self.shows_activity, sender_format=sender_format)
        )

    @Call("Change an alias", {"ok": bool}, takes=inputs.AliasChanges, refuses=(403,))
    def put(self, request: Request, key: int) -> Answer:
        alias, data = self.alias(key), inputs.AliasChanges.read(self.fields)
        keys = data["mailbox_ids"]
        alias.change(
            note=data.get("note"),
            name=data.get("name"),
            pinned=data["pinned"],
            skips_encryption=data["disable_pgp"],
            destinations=addresses_of(self.caller, keys) if keys else None,
        )
        return Answer({"ok": True})

    patch = put

    @Call("Delete an alias; it can be restored on the web page", {"deleted": bool})
    def delete(self, request: Request, key: int) -> Answer:
        self.alias(key).soft_delete()
        return Answer({"deleted": True})


def addresses_of(user: User, keys: list[int] | None) -> list[str]:
    """The user's verified addresses with these ids. Raises BadInput, as SimpleLogin does."""
    if not keys:
        raise BadInput(inputs.NO_MAILBOX)
    found = EmailAddress.objects.filter(user=user, verified=True, pk__in=keys)
    emails = {address.pk: address.email for address in found}
    if any(key not in emails for key in keys):
        raise BadInput(inputs.WRONG_MAILBOX)
    return [emails[key] for key in keys]


class AliasToggle(AliasView):
    scope = Scope.MANAGE

    @Call("Switch an alias on or off", {"enabled": bool}, example={"enabled": False})
    def post(self, request: Request, key: int) -> Answer:
        return Answer({"enabled": self.alias(key).toggle()})


class AliasActivities(AliasView):
    scope = Scope.ACTIVITY

    @Call(
        "What happened to an alias's mail, the latest first",
        {"activities": list[activities.ActivityObject]},
        parameters=[inputs.PAGE_ID],
    )
    def get(self, request: Request, key: int) -> Answer:
        page = inputs.page_number(self.query, "page_id")
        alias = self.alias(key)
        rows = activities.latest_first(alias.activities.all())[page * PAGE_SIZE : (page + 1) * PAGE_SIZE]
        sender_format = preferences_of(self.caller).sender_format
        return Answer({"activities": [activities.activity_object(row, alias, sender_format) for row in rows]})
