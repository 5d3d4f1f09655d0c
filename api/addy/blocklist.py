"""addy.io's list of blocked senders: the addresses of contacts that are blocked at any of one's aliases."""

from typing import Any, ClassVar, TypedDict
from uuid import UUID

from django.db import transaction
from django.db.models import Min, Sum
from django.utils.translation import gettext, ngettext
from rest_framework.request import Request

from accounts.models import User
from api.addy.ids import public_id, public_ids
from api.addy.inputs import (
    EXAMPLE_ID,
    ChoiceField,
    Input,
    ManyIdsField,
    RequiredTextField,
    TextField,
    ValuesField,
)
from api.addy.lists import COUNTED_MAX, Page, PageLinks, PageMeta, PageQuery, example_page
from api.addy.objects import SINCE, example_user, stamp
from api.addy.schema import AddyCall
from api.answers import Answer
from api.errors import NotFound, Unprocessable
from api.schema import EXAMPLES, example_of
from api.views import ApiView, Rights
from contacts.addresses import correspondent_address
from contacts.models import Contact, ContactQuerySet
from core.addresses import AddressError
from tokens.scopes import Scope

# Our column by addy.io's word.
SORTS = {"created_at": "since", "value": "address", "blocked": "mails"}


class BlockedObject(TypedDict):
    id: UUID
    user_id: UUID
    value: str
    type: str
    blocked: int
    last_blocked: str | None
    created_at: str
    updated_at: str


def blocked_object(row: dict[str, Any], owner: User, *, activity: bool) -> BlockedObject:
    """An address that is blocked. Without `activity`, which the token may not read, it never wrote."""
    since = stamp(row["since"])
    return {
        "id": public_id("blocked", row["address"]),
        "user_id": public_id("user", owner.pk),
        "value": row["address"],
        "type": "email",
        "blocked": row["mails"] if activity else 0,
        # Not stored.
        "last_blocked": None,
        "created_at": since,
        "updated_at": since,
    }


class BlockedPage(TypedDict):
    data: list[BlockedObject]
    links: PageLinks
    meta: PageMeta


EXAMPLES[BlockedObject] = lambda: blocked_object(
    {"address": "spam@shop.test", "since": SINCE, "mails": 4}, example_user(), activity=True
)
EXAMPLES[BlockedPage] = lambda: example_page([example_of(BlockedObject)])


class BlockedQuery(PageQuery):
    filter_search = TextField(help_text="A part of the address; empty for all.")
    filter_type = ChoiceField("email", "domain", help_text="Here only addresses are blocked.")
    sort = ChoiceField(
        *SORTS, *(f"-{name}" for name in SORTS), help_text="The order; by default the latest first."
    )


class NewBlocked(Input):
    type = ChoiceField("email", "domain", initial="email")
    value = RequiredTextField(initial="spam@shop.test")


class ManyNewBlocked(Input):
    type = ChoiceField("email", "domain", initial="email")
    values = ValuesField(allow_null=False, initial=["spam@shop.test"])


class BlockedIds(Input):
    ids = ManyIdsField(allow_null=False, initial=[EXAMPLE_ID])


class ManyBlockedObject(TypedDict):
    data: list[BlockedObject]
    message: str
    skipped: int


class UnblockedObject(TypedDict):
    message: str
    ids: list[UUID]


def added(data: list[BlockedObject], skipped: int) -> ManyBlockedObject:
    """What was added; `skipped`: how many more were there already."""
    sentence = ngettext(
        "%(count)s entry added to the blocklist.", "%(count)s entries added to the blocklist.", len(data)
    )
    return {"data": data, "message": sentence % {"count": len(data)}, "skipped": skipped}


def removed(ids: list[UUID]) -> UnblockedObject:
    sentence = ngettext(
        "%(count)s entry removed from the blocklist.",
        "%(count)s entries removed from the blocklist.",
        len(ids),
    )
    return {"message": sentence % {"count": len(ids)}, "ids": ids}


EXAMPLES[ManyBlockedObject] = lambda: added([example_of(BlockedObject)], 0)
EXAMPLES[UnblockedObject] = lambda: removed([UUID(EXAMPLE_ID)])


class BlockedView(ApiView):
    def contacts(self) -> ContactQuerySet:
        """The caller's contacts, of all aliases."""
        return Contact.objects.owned_by(self.caller)

    def rows(self, contacts: ContactQuerySet) -> Any:
        """The addresses that are blocked among the contacts, each once."""
        blocked = contacts.filter(blocked=True).order_by().values("address")
        return blocked.annotate(mails=Sum("blocks"), since=Min("created"))

    def shown(self, row: dict[str, Any]) -> BlockedObject:
        return blocked_object(row, self.caller, activity=self.shows_activity)

    def asked(self, kind: str, values: dict[str, str]) -> dict[str, str]:
        """The addresses in these fields, in their one form. Raises Unprocessable."""
        if kind == "domain":
            raise Unprocessable("type", gettext("Only addresses can be blocked on this server."))
        found = {}
        for field, value in values.items():
            try:
                found[field] = correspondent_address(value)
            except AddressError as error:
                raise Unprocessable(field, gettext("This is not a valid e-mail address.")) from error
        return found

    def block(self, asked: dict[str, str]) -> list[BlockedObject]:
        """Block these, each of which has to be a contact's. Raises Unprocessable, perhaps after some."""
        contacts = self.contacts().filter(address__in=list(asked.values()))
        contacts.update(blocked=True, waiting=False)
        rows = {row["address"]: row for row in self.rows(contacts)}
        for field, address in asked.items():
            if address not in rows:
                raise Unprocessable(field, gettext("None of your aliases has a contact with this address."))
        return [self.shown(rows[address]) for address in dict.fromkeys(asked.values())]


class Blocklist(BlockedView):
    scope: ClassVar[Rights] = {"get": Scope.ACTIVITY, "post": Scope.MANAGE}

    @AddyCall("The addresses that are blocked", BlockedPage, parameters=[BlockedQuery], refuses=(422,))
    def get(self, request: Request) -> Answer:
        query = BlockedQuery.read(self.query)
        page = Page(request.build_absolute_uri(request.path), self.query, query)
        contacts = self.contacts().search(query["filter[search]"] or "")
        rows = self.rows(contacts.none() if query["filter[type]"] == "domain" else contacts)
        sort = query["sort"] or "-created_at"
        order = SORTS[sort.removeprefix("-")]
        ordered = rows.order_by(f"-{order}" if sort[0] == "-" else order, "address")
        total = rows[: page.rows.stop + COUNTED_MAX].count()
        return Answer(page.answer([self.shown(row) for row in ordered[page.rows]], total))

    @AddyCall(
        "Block an address that has written to your aliases, at all of them",
        {"data": BlockedObject},
        201,
        takes=NewBlocked,
        refuses=(422,),
    )
    def post(self, request: Request) -> Answer:
        data = NewBlocked.read(self.fields)
        (blocked,) = self.block(self.asked(data["type"], {"value": data["value"]}))
        return Answer({"data": blocked}, status=201)


class ManyBlocked(BlockedView):
    scope: ClassVar[Rights] = Scope.MANAGE

    @AddyCall(
        "Block up to 50 addresses that have written to your aliases; all of them or none",
        ManyBlockedObject,
        201,
        takes=ManyNewBlocked,
        refuses=(422,),
    )
    @transaction.atomic
    def post(self, request: Request) -> Answer:
        data = ManyNewBlocked.read(self.fields)
        values = {f"values.{number}": value for number, value in enumerate(data["values"])}
        asked = self.asked(data["type"], values)
        blocked = self.contacts().filter(blocked=True, address__in=list(asked.values())).order_by()
        there = set(blocked.values_list("address", flat=True))
        made = [each for each in self.block(asked) if each["value"] not in there]
        return Answer(added(made, len(there)), status=201)


class UnblockingView(BlockedView):
    scope: ClassVar[Rights] = Scope.MANAGE

    def unblock(self, ids: list[UUID]) -> list[UUID]:
        """Take mail of the addresses of these ids again, and return those that there are. Raises NotFound."""
        blocked = self.contacts().filter(blocked=True)
        all_ids = {
            key: address
            for address in blocked.order_by().values_list("address", flat=True).distinct()
            for key in public_ids("blocked", address)
        }
        found = {uuid: all_ids[uuid] for uuid in ids if uuid in all_ids}
        if not found:
            raise NotFound(gettext("There is no such entry."))
        blocked.filter(address__in=found.values()).update(blocked=False)
        return list(found)


class OneBlocked(UnblockingView):
    @AddyCall("Take mail of this address again, at all aliases", status=204)
    def delete(self, request: Request, uuid: UUID) -> Answer:
        self.unblock([uuid])
        return Answer(status=204)


class ManyUnblocked(UnblockingView):
    @AddyCall("Take mail of up to 500 addresses again", UnblockedObject, takes=BlockedIds, refuses=(404, 422))
    def post(self, request: Request) -> Answer:
        return Answer(removed(self.unblock(BlockedIds.read(self.fields)["ids"])))
