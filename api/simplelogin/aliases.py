"""SimpleLogin's calls for aliases."""

from allauth.account.models import EmailAddress
from django.utils.translation import gettext
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias, AliasQuerySet
from aliases.naming import UUID, WORDS
from api.errors import BadInput, NotFound
from api.schema import Call, query
from api.simplelogin import inputs, objects
from api.views import ApiView
from tokens.scopes import Scope

PAGE_SIZE = 20  # SimpleLogin's PAGE_LIMIT

# SimpleLogin's `mode`; a client that sends anything else gets what its owner prefers.
STYLE_OF_MODE = {"word": WORDS, "uuid": UUID}


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
    def post(self, request: Request) -> Response:
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
        return Response(objects.new_alias_object(alias), status=201)


class AliasList(ApiView):
    scope = Scope.CREATE

    def page(self) -> list[objects.AliasObject]:
        """The page that the query string asks for."""
        query = self.query
        page = inputs.page_number(query, "page_id")
        aliases = filtered(Alias.objects.owned_by(self.caller).present(), query)
        aliases = aliases.search(inputs.AliasSearch.read(self.fields)["query"] or "")
        # The page is found in the index alone; only its rows are then read whole.
        keys = self.in_order(aliases).values("pk")[page * PAGE_SIZE : (page + 1) * PAGE_SIZE]
        rows = list(self.in_order(Alias.objects.filter(pk__in=keys).with_destinations()))
        latest = objects.latest_activities(rows) if self.shows_activity else {}
        return [
            objects.alias_object(alias, latest.get(alias.pk), activity=self.shows_activity) for alias in rows
        ]

    @Call(
        "List aliases, twenty a page, pinned and recent ones first",
        {"aliases": list[objects.AliasObject]},
        takes=inputs.AliasSearch,
        parameters=[inputs.PAGE_ID, *inputs.FLAGS],
    )
    def get(self, request: Request) -> Response:
        return Response({"aliases": self.page()})

    post = get


class OldAliasList(AliasList):
    @Call(
        "List aliases, with the object of SimpleLogin's first version",
        {"aliases": list[objects.OldAliasObject]},
        takes=inputs.AliasSearch,
        parameters=[inputs.PAGE_ID, *inputs.FLAGS],
    )
    def get(self, request: Request) -> Response:
        return Response({"aliases": [objects.old_alias_object(alias) for alias in self.page()]})

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


class AliasView(ApiView):
    """A call about one of the caller's aliases."""

    def alias(self, key: int) -> Alias:
        """The alias with this id. Raises NotFound if it is not the caller's."""
        found = Alias.objects.owned_by(self.caller).present().with_destinations().filter(pk=key).first()
        if found is None:
            raise NotFound(gettext("There is no such alias."))
        return found


class AliasDetail(AliasView):
    scope = {"get": Scope.CREATE, "put": Scope.MANAGE, "patch": Scope.MANAGE, "delete": Scope.MANAGE}

    @Call("One alias", objects.AliasObject)
    def get(self, request: Request, key: int) -> Response:
        alias = self.alias(key)
        latest = objects.latest_activities([alias]).get(alias.pk) if self.shows_activity else None
        return Response(objects.alias_object(alias, latest, activity=self.shows_activity))

    @Call("Change an alias", {"ok": bool}, takes=inputs.AliasChanges, refuses=(403,))
    def put(self, request: Request, key: int) -> Response:
        alias, data = self.alias(key), inputs.AliasChanges.read(self.fields)
        keys = data["mailbox_ids"]
        alias.change(
            note=data.get("note"),
            name=data.get("name"),
            pinned=data["pinned"],
            destinations=addresses_of(self.caller, keys) if keys else None,
        )
        return Response({"ok": True})

    patch = put

    @Call("Delete an alias; it can be restored on the web page", {"deleted": bool})
    def delete(self, request: Request, key: int) -> Response:
        self.alias(key).soft_delete()
        return Response({"deleted": True})


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
    def post(self, request: Request, key: int) -> Response:
        return Response({"enabled": self.alias(key).toggle()})


class AliasActivities(AliasView):
    scope = Scope.ACTIVITY

    @Call(
        "What happened to an alias's mail, the latest first",
        {"activities": list[objects.ActivityObject]},
        parameters=[inputs.PAGE_ID],
    )
    def get(self, request: Request, key: int) -> Response:
        page = inputs.page_number(self.query, "page_id")
        alias = self.alias(key)
        rows = alias.activities.order_by("-moment", "-pk")[page * PAGE_SIZE : (page + 1) * PAGE_SIZE]
        return Response({"activities": [objects.activity_object(row, alias) for row in rows]})
