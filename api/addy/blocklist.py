"""addy.io's list of blocked senders: the addresses of contacts that are blocked at any of one's aliases."""

from typing import Any, ClassVar, TypedDict
from uuid import UUID

from django.db.models import Min, Sum
from django.utils.translation import gettext
from rest_framework.request import Request

from accounts.models import User
from api.addy.ids import public_id
from api.addy.inputs import ChoiceField, Input, RequiredTextField, TextField
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
        if data["type"] == "domain":
            raise Unprocessable("type", gettext("Only addresses can be blocked on this server."))
        try:
            address = correspondent_address(data["value"])
        except AddressError as error:
            raise Unprocessable("value", gettext("This is not a valid e-mail address.")) from error
        if not self.contacts().filter(address=address).update(blocked=True, waiting=False):
            raise Unprocessable("value", gettext("None of your aliases has a contact with this address."))
        row = self.rows(self.contacts().filter(address=address)).get()
        return Answer({"data": self.shown(row)}, status=201)


class OneBlocked(BlockedView):
    scope: ClassVar[Rights] = Scope.MANAGE

    @AddyCall("Take mail of this address again, at all aliases", status=204)
    def delete(self, request: Request, uuid: UUID) -> Answer:
        blocked = self.contacts().filter(blocked=True)
        for address in blocked.order_by().values_list("address", flat=True).distinct():
            if public_id("blocked", address) == uuid:
                blocked.filter(address=address).update(blocked=False)
                return Answer(status=204)
        raise NotFound(gettext("There is no such entry."))
