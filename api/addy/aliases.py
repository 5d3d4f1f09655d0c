"""addy.io's calls about aliases."""

import re
from typing import Any, ClassVar
from uuid import UUID

from django.utils.translation import gettext
from rest_framework.request import Request

from aliases.issuing import issue, issue_chosen
from aliases.models import Alias, AliasQuerySet
from api.addy import inputs
from api.addy.lists import AliasPage, ListQuery, Page
from api.addy.objects import AliasObject, alias_object, with_last_mail
from api.addy.schema import AddyCall
from api.answers import Answer
from api.errors import NotFound, Unprocessable
from api.listing import with_keys
from api.views import ApiView, Rights
from tokens.scopes import Scope

ONE = {"data": AliasObject}
# What Bitwarden writes: the only place where it names the site to addy.io.
_WEBSITE = re.compile(r"^Website: (\S+)\. ")


def site_of(description: str) -> str:
    """The web site that Bitwarden's description names; "" for any other text."""
    match = _WEBSITE.match(description)
    return match[1] if match else ""


class Aliases(ApiView):
    scope = Scope.CREATE

    @AddyCall("List aliases, pinned and recent ones first", AliasPage, parameters=[ListQuery], refuses=(422,))
    def get(self, request: Request) -> Answer:
        raw = self.query
        query = ListQuery.read(raw)
        page = Page(request.build_absolute_uri(request.path), raw, query)
        return Answer(page.answer(*page.read(self.caller, query, activity=self.shows_activity)))

    @AddyCall("Create an alias", ONE, 201, takes=inputs.NewChosenAlias, refuses=(403, 422))
    def post(self, request: Request) -> Answer:
        data = inputs.NewAlias.read(self.fields)
        style, note = data["format"], data["description"] or ""
        if style == inputs.CUSTOM:
            data = inputs.NewChosenAlias.read(self.fields)
        common: dict[str, Any] = {
            "owner": self.caller,
            "made_by_app": True,
            "domain": data["domain"],
            "destinations": inputs.own_addresses(self.caller, data["recipient_ids"]),
            "note": note,
        }
        with inputs.refused_by_field("local_part"):
            if style == inputs.CUSTOM:
                alias = issue_chosen(prefix=data["local_part"].lower(), **common)
            else:
                # A format that was asked for is kept; otherwise the name may show the site, as ours do.
                hostname = "" if style else site_of(note)
                alias = issue(style=inputs.STYLE_OF_FORMAT.get(style), hostname=hostname, **common)
        return Answer({"data": alias_object(alias, self.caller)}, status=201)


class AliasView(ApiView):
    """A view of one alias of the caller's, deleted or not; other people's do not exist."""

    scope: ClassVar[Rights] = Scope.MANAGE

    def all_mine(self) -> AliasQuerySet:
        """The caller's aliases, with all that is shown of them."""
        return with_keys(with_last_mail(Alias.objects.owned_by(self.caller)))

    def alias(self, key: UUID | None, *, present: bool = False) -> Alias:
        """The caller's alias of this id; `present`: only if it is not deleted. Raises NotFound."""
        aliases = self.all_mine().present() if present else self.all_mine()
        found = aliases.filter(uuid=key).first() if key else None
        if found is None:
            raise NotFound(gettext("There is no such alias."))
        found.owner = self.caller
        return found

    def shown(self, alias: Alias) -> Answer:
        return Answer({"data": alias_object(alias, self.caller, activity=self.shows_activity)})


class OneAlias(AliasView):
    scope = {"get": Scope.CREATE, "patch": Scope.MANAGE, "delete": Scope.MANAGE}

    @AddyCall("One alias, deleted or not", ONE)
    def get(self, request: Request, uuid: UUID) -> Answer:
        return self.shown(self.alias(uuid))

    @AddyCall("Change an alias", ONE, takes=inputs.AliasChanges, refuses=(422,))
    def patch(self, request: Request, uuid: UUID) -> Answer:
        alias, data = self.alias(uuid), inputs.AliasChanges.read(self.fields)
        alias.edit(note=data["description"], name=data["from_name"])
        return self.shown(alias)

    @AddyCall("Delete an alias; it can be restored", status=204)
    def delete(self, request: Request, uuid: UUID) -> Answer:
        self.alias(uuid, present=True).soft_delete()
        return Answer(status=204)


class Restore(AliasView):
    @AddyCall("Restore a deleted alias", ONE, refuses=(403, 409))
    def patch(self, request: Request, uuid: UUID) -> Answer:
        alias = self.alias(uuid)
        if alias.is_deleted:
            alias.restore()
        return self.shown(alias)


class Forget(AliasView):
    @AddyCall("Erase everything about an alias but its address, which is never given out again", status=204)
    def delete(self, request: Request, uuid: UUID) -> Answer:
        alias = self.alias(uuid)
        Alias.objects.owned_by(self.caller).filter(pk=alias.pk).strip()
        return Answer(status=204)


class ActiveAliases(AliasView):
    @AddyCall("Switch an alias on", ONE, takes=inputs.AliasId, refuses=(404, 422))
    def post(self, request: Request) -> Answer:
        alias = self.alias(inputs.AliasId.read(self.fields)["id"])
        if alias.is_deleted:
            raise Unprocessable("id", gettext("You need to restore this alias before you can activate it."))
        alias.enable()
        return self.shown(alias)


class ActiveAlias(AliasView):
    @AddyCall("Switch an alias off", status=204)
    def delete(self, request: Request, uuid: UUID) -> Answer:
        self.alias(uuid).disable()
        return Answer(status=204)


class PinnedAliases(AliasView):
    @AddyCall("Pin an alias", ONE, takes=inputs.AliasId, refuses=(404, 422))
    def post(self, request: Request) -> Answer:
        alias = self.alias(inputs.AliasId.read(self.fields)["id"])
        alias.edit(pinned=True)
        return self.shown(alias)


class PinnedAlias(AliasView):
    @AddyCall("Unpin an alias", status=204)
    def delete(self, request: Request, uuid: UUID) -> Answer:
        self.alias(uuid).edit(pinned=False)
        return Answer(status=204)


class AliasRecipients(AliasView):
    @AddyCall(
        "Forward an alias to these addresses; without any, to the primary one",
        ONE,
        takes=inputs.AliasRecipientIds,
        refuses=(404, 422),
    )
    def post(self, request: Request) -> Answer:
        data = inputs.AliasRecipientIds.read(self.fields)
        alias = self.alias(data["alias_id"])
        recipients = inputs.own_recipients(self.caller, data["recipient_ids"])
        with inputs.refused_by_field("recipient_ids"):
            alias.set_destinations([address.email for address in recipients])
        # The same, and their keys, which are shown too.
        alias.destination_addresses = list(dict.fromkeys(recipients))
        return self.shown(alias)
