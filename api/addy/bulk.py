"""addy.io's calls for up to 25 aliases at once: the same change for each."""

from collections.abc import Callable
from typing import TypedDict
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext, ngettext
from rest_framework.request import Request

from aliases.models import Alias, AliasQuerySet
from api.addy.aliases import AliasView
from api.addy.inputs import (
    BULK_MAX,
    EXAMPLE_ID,
    AliasIds,
    AliasIdsAndRecipientIds,
    own_addresses,
    refused_by_field,
)
from api.addy.objects import BareAliasObject, bare_alias_object, with_last_mail
from api.addy.schema import AddyCall
from api.answers import Answer
from api.errors import NotFound, Unprocessable
from api.inputs import Input
from api.schema import EXAMPLES
from tokens.scopes import Scope

Change = Callable[["BulkView", list[Alias]], list[Alias] | None]
Choose = Callable[[AliasQuerySet], AliasQuerySet]


class ChangedObject(TypedDict):
    message: str
    ids: list[UUID]


def changed_object(ids: list[UUID]) -> ChangedObject:
    """How many aliases were changed, and which."""
    sentence = ngettext("%(count)s alias changed.", "%(count)s aliases changed.", len(ids))
    return {"message": sentence % {"count": len(ids)}, "ids": ids}


EXAMPLES[ChangedObject] = lambda: changed_object([UUID(EXAMPLE_ID)])


class BulkView(AliasView):
    """A view of the aliases that the body names."""

    def named(self, choose: Choose) -> list[Alias]:
        """The caller's aliases that `ids` names and `choose` keeps. Raises Unprocessable, NotFound."""
        ids = AliasIds.read(self.fields)["ids"]
        aliases = list(choose(self.all_mine().filter(uuid__in=ids)).order_by("pk"))
        if not aliases:
            raise NotFound(gettext("No aliases found"))
        for alias in aliases:
            alias.owner = self.caller
        return aliases


class BulkGet(BulkView):
    """The aliases without their recipients, as addy.io has it."""

    scope = Scope.CREATE

    def all_mine(self) -> AliasQuerySet:
        return with_last_mail(Alias.objects.owned_by(self.caller))

    @AddyCall(
        f"Up to {BULK_MAX} aliases", {"data": list[BareAliasObject]}, takes=AliasIds, refuses=(404, 422)
    )
    def post(self, request: Request) -> Answer:
        rows = [
            bare_alias_object(alias, self.caller, activity=self.shows_activity)
            for alias in self.named(AliasQuerySet.all)
        ]
        return Answer({"data": rows})


def changing(
    verb: str,
    change: Change,
    choose: Choose = AliasQuerySet.present,
    takes: type[Input] = AliasIds,
    refuses: tuple[int, ...] = (404, 422),
) -> type[BulkView]:
    """A view that changes all that `choose` keeps, or none; `change` may return those that it changed."""

    class BulkChange(BulkView):
        @AddyCall(f"{verb} up to {BULK_MAX} aliases", ChangedObject, takes=takes, refuses=refuses)
        @transaction.atomic
        def post(self, request: Request) -> Answer:
            aliases = self.named(choose)
            return Answer(changed_object([alias.uuid for alias in change(self, aliases) or aliases]))

    return BulkChange


def each(change: Callable[[Alias], None]) -> Change:
    """The same change for one alias after the other."""

    def change_each(view: BulkView, aliases: list[Alias]) -> None:
        for alias in aliases:
            change(alias)

    return change_each


def activate(view: BulkView, aliases: list[Alias]) -> list[Alias]:
    present = [alias for alias in aliases if not alias.is_deleted]
    if not present:
        raise Unprocessable("ids", gettext("You need to restore these aliases before you can activate them."))
    for alias in present:
        alias.enable()
    return present


def forget(view: BulkView, aliases: list[Alias]) -> None:
    Alias.objects.owned_by(view.caller).filter(pk__in=[alias.pk for alias in aliases]).strip()


def set_recipients(view: BulkView, aliases: list[Alias]) -> None:
    data = AliasIdsAndRecipientIds.read(view.fields)
    addresses = own_addresses(view.caller, data["recipient_ids"]) or [view.caller.email]
    with refused_by_field("recipient_ids"):
        for alias in aliases:
            alias.set_destinations(addresses)


# By the action in the path.
VIEWS: dict[str, type[BulkView]] = {
    "get": BulkGet,
    # Whatever its switch, a deleted alias is shown as inactive.
    "activate": changing("Switch on", activate, lambda rows: rows.exclude(enabled=True, deleted_at=None)),
    "deactivate": changing(
        "Switch off", each(Alias.disable), lambda rows: rows.present().filter(enabled=True)
    ),
    "pin": changing("Pin", each(lambda alias: alias.edit(pinned=True))),
    "unpin": changing("Unpin", each(lambda alias: alias.edit(pinned=False))),
    "delete": changing("Delete", each(Alias.soft_delete)),
    "restore": changing(
        "Restore",
        each(Alias.restore),
        lambda rows: rows.deleted().select_related("domain"),
        refuses=(403, 404, 409, 422),
    ),
    "forget": changing("Forget", forget, AliasQuerySet.all),
    "recipients": changing(
        "Change the recipients of", set_recipients, AliasQuerySet.all, takes=AliasIdsAndRecipientIds
    ),
}
