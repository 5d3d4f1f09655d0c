"""addy.io's dialect: its paths, keys and refusals over our verbs (docs/api.md)."""

import re
from typing import Any
from uuid import UUID

from django.utils.translation import gettext
from rest_framework.request import Request
from rest_framework.response import Response

from aliases import naming
from aliases.issuing import issue, issue_chosen
from aliases.models import Alias, AliasQuerySet
from aliases.validation import clean_name, clean_note
from api.addy.inputs import choice_of, recipients_of, refused_by_field, required_text, text_of, uuid_of
from api.addy.lists import Page, chosen, ordered
from api.addy.objects import alias_object, with_last_mail
from api.errors import NotFound, Unprocessable
from api.query import read_query
from api.views import ApiView
from tokens.scopes import Scope

CUSTOM = "custom"
# addy.io's formats; there are no lists of first names here, words stand for them.
STYLE_OF_FORMAT = {
    "random_characters": naming.CHARACTERS,
    "uuid": naming.UUID,
    "random_words": naming.WORDS,
    "random_male_name": naming.WORDS,
    "random_female_name": naming.WORDS,
    "random_noun": naming.WORDS,
}
FORMATS = (*STYLE_OF_FORMAT, CUSTOM)
# What Bitwarden writes: the only place where it names the site to addy.io.
_WEBSITE = re.compile(r"^Website: (\S+)\. ")


def site_of(description: str | None) -> str:
    """The web site that Bitwarden's description names; "" for any other text."""
    match = _WEBSITE.match(description or "")
    return match[1] if match else ""


class Aliases(ApiView):
    """`GET` and `POST /api/v1/aliases`."""

    scope = Scope.CREATE

    def get(self, request: Request) -> Response:
        query = read_query(request.META.get("QUERY_STRING", ""))
        page = Page(request, query)
        aliases = chosen(self.caller, query)
        total = aliases.count()
        # The page is found in the index alone; only its rows are then read whole.
        shows = self.shows_activity
        keys = ordered(aliases, query, activity=shows).values("pk")[page.rows]
        found = with_last_mail(Alias.objects.filter(pk__in=keys)).with_destinations()
        rows = ordered(found, query, activity=shows)
        return Response(
            page.answer([alias_object(alias, self.caller, activity=shows) for alias in rows], total)
        )

    def post(self, request: Request) -> Response:
        data = self.fields
        domain = required_text(data, "domain")
        style = choice_of(data, "format", FORMATS)
        description = text_of(data, "description")
        local_part = required_text(data, "local_part").lower() if style == CUSTOM else ""
        with refused_by_field("description"):
            clean_note(description or "")
        common: dict[str, Any] = {
            "owner": self.caller,
            "made_by_app": True,
            "domain": domain,
            "destinations": recipients_of(data, self.caller),
            "note": description or "",
        }
        with refused_by_field("local_part"):
            if style == CUSTOM:
                alias = issue_chosen(prefix=local_part, **common)
            else:
                # A format that was asked for is kept to; else the name may tell the site, as ours do.
                hostname = "" if style else site_of(description)
                alias = issue(style=STYLE_OF_FORMAT.get(style), hostname=hostname, **common)
        return Response({"data": alias_object(alias, self.caller)}, status=201)


class AliasView(ApiView):
    """A view of one alias of the caller's, deleted or not; another's does not exist."""

    def all_mine(self) -> AliasQuerySet:
        """The caller's aliases, with all that is shown of them."""
        return with_last_mail(Alias.objects.owned_by(self.caller)).with_destinations()

    def alias(self, key: UUID | None, *, present: bool = False) -> Alias:
        """The caller's alias of this id; `present`: only if it is not deleted. Raises NotFound."""
        aliases = self.all_mine().present() if present else self.all_mine()
        found = aliases.filter(uuid=key).first() if key else None
        if found is None:
            raise NotFound(gettext("There is no such alias."))
        found.owner = self.caller
        return found

    def named(self, name: str = "id") -> Alias:
        """The alias that a field of the body names. Raises Unprocessable, NotFound."""
        return self.alias(uuid_of(required_text(self.fields, name)))

    def shown(self, alias: Alias) -> Response:
        """The alias as the answer."""
        return Response({"data": alias_object(alias, self.caller, activity=self.shows_activity)})


class OneAlias(AliasView):
    """`GET`, `PATCH` and `DELETE /api/v1/aliases/:id`."""

    scope = {"get": Scope.CREATE, "patch": Scope.MANAGE, "delete": Scope.MANAGE}

    def get(self, request: Request, uuid: UUID) -> Response:
        return self.shown(self.alias(uuid))

    def patch(self, request: Request, uuid: UUID) -> Response:
        alias, data = self.alias(uuid), self.fields
        description, from_name = text_of(data, "description"), text_of(data, "from_name")
        with refused_by_field("description"):
            clean_note(description or "")
        with refused_by_field("from_name"):
            clean_name(from_name or "")
        alias.edit(
            # null empties a field, a missing one is left alone
            note=(description or "") if "description" in data else None,
            name=(from_name or "") if "from_name" in data else None,
        )
        return self.shown(alias)

    def delete(self, request: Request, uuid: UUID) -> Response:
        self.alias(uuid, present=True).soft_delete()
        return Response(status=204)


class Restore(AliasView):
    """`PATCH /api/v1/aliases/:id/restore`: the switch is as it was before."""

    scope = Scope.MANAGE

    def patch(self, request: Request, uuid: UUID) -> Response:
        alias = self.alias(uuid)
        if alias.is_deleted:
            alias.restore()
        return self.shown(alias)


class Forget(AliasView):
    """`DELETE /api/v1/aliases/:id/forget`: all but the address, which is never given out again, goes."""

    scope = Scope.MANAGE

    def delete(self, request: Request, uuid: UUID) -> Response:
        alias = self.alias(uuid)
        Alias.objects.owned_by(self.caller).filter(pk=alias.pk).strip()
        return Response(status=204)


class ActiveAliases(AliasView):
    """`POST /api/v1/active-aliases`: switch on."""

    scope = Scope.MANAGE

    def post(self, request: Request) -> Response:
        alias = self.named()
        if alias.is_deleted:
            raise Unprocessable("id", gettext("You need to restore this alias before you can activate it."))
        alias.enable()
        return self.shown(alias)


class ActiveAlias(AliasView):
    """`DELETE /api/v1/active-aliases/:id`: switch off."""

    scope = Scope.MANAGE

    def delete(self, request: Request, uuid: UUID) -> Response:
        self.alias(uuid).disable()
        return Response(status=204)


class PinnedAliases(AliasView):
    """`POST /api/v1/pinned-aliases`."""

    scope = Scope.MANAGE

    def post(self, request: Request) -> Response:
        alias = self.named()
        alias.edit(pinned=True)
        return self.shown(alias)


class PinnedAlias(AliasView):
    """`DELETE /api/v1/pinned-aliases/:id`."""

    scope = Scope.MANAGE

    def delete(self, request: Request, uuid: UUID) -> Response:
        self.alias(uuid).edit(pinned=False)
        return Response(status=204)


class AliasRecipients(AliasView):
    """`POST /api/v1/alias-recipients`: forward to these; to none of them: to the primary address."""

    scope = Scope.MANAGE

    def post(self, request: Request) -> Response:
        alias = self.named("alias_id")
        addresses = recipients_of(self.fields, self.caller)
        with refused_by_field("recipient_ids"):
            alias.set_destinations(addresses or [self.caller.email])
        return self.shown(alias)
