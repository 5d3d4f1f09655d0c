"""addy.io's calls about failed deliveries."""

from datetime import timedelta
from typing import Any, TypedDict
from uuid import UUID

from allauth.account.models import EmailAddress
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from rest_framework.request import Request

from accounts.models import AddressChange, User
from api.addy.ids import public_id, public_ids
from api.addy.inputs import EXAMPLE_RECIPIENT_ID, ChoiceField, Input, RecipientIdsField, own_addresses
from api.addy.lists import COUNTED_MAX, Page, PageLinks, PageMeta, PageQuery, example_page
from api.addy.objects import SINCE, example_address, example_alias, example_user, stamp
from api.addy.schema import AddyCall
from api.answers import Answer
from api.errors import NotFound, NotOffered, Unprocessable
from api.schema import EXAMPLES, example_of
from api.views import ApiView
from core.mails import absolute_url
from core.ratelimit import Limit, count_or_refuse
from mail.delivery.resending import NotKept, resend, with_facts
from mail.models import Event, FailedDelivery, FailedDeliveryQuerySet, ReturnedMessage
from tokens.scopes import Scope

# Each is up to 5 MiB, and holds a worker until the next hop has it.
RESENT = Limit("resent", 30, timedelta(hours=1), refusal=_("Too many requests. Try again later."))
# The class of an RFC 3463 code in addy.io's words.
BOUNCE_TYPES = {"4": "soft", "5": "hard"}


class FailedDeliveryObject(TypedDict):
    id: UUID
    user_id: UUID
    recipient_id: UUID | None
    recipient_email: str | None
    alias_id: UUID
    alias_email: str
    bounce_type: str
    remote_mta: str
    sender: str | None
    destination: str | None
    ir_dedupe_key: str | None
    type: str
    email_type: str
    email_type_text: str
    status: str
    code: str
    is_stored: bool
    quarantined: bool
    resent: bool
    attempted_at: str
    created_at: str
    updated_at: str


def failed_object(failed: FailedDelivery, owner: User) -> FailedDeliveryObject:
    """A failed delivery. `is_stored`: the message is kept, and can be sent again.

    addy.io's app for iOS shows no list if one of the texts that it knows in each is null: they are "".
    """
    destination, moment = failed.destination, stamp(failed.moment)
    contact = failed.contact.address if failed.is_reply and failed.contact else None
    return {
        "id": public_id("failed delivery", failed.pk),
        "user_id": public_id("user", owner.pk),
        "recipient_id": public_id("recipient", destination.pk) if destination else None,
        "recipient_email": destination.email if destination else None,
        "alias_id": failed.alias.uuid,
        "alias_email": failed.alias.address,
        "bounce_type": BOUNCE_TYPES.get(failed.status[:1], ""),
        "remote_mta": "",
        "sender": failed.alias.address if contact else failed.sender or None,
        "destination": destination.email if destination else contact,
        "ir_dedupe_key": None,
        "type": "outbound",
        "email_type": "R" if contact else "F",
        "email_type_text": "Reply" if contact else "Forward",
        "status": failed.status,
        "code": failed.reason,
        "is_stored": failed.kept is not None,
        "quarantined": False,
        "resent": False,
        "attempted_at": moment,
        "created_at": moment,
        "updated_at": moment,
    }


def example_failed() -> FailedDelivery:
    failed = FailedDelivery(
        pk=0,
        alias=example_alias(),
        destination=example_address(),
        event=Event.BOUNCE,
        sender="noreply@github.com",
        status="5.2.2",
        reason="552 5.2.2 Mailbox full",
        moment=SINCE,
    )
    failed.returned = ReturnedMessage(activity=failed)
    return failed


class FailedPage(TypedDict):
    data: list[FailedDeliveryObject]
    links: PageLinks
    meta: PageMeta


EXAMPLES[FailedDeliveryObject] = lambda: failed_object(example_failed(), example_user())
EXAMPLES[FailedPage] = lambda: example_page([example_of(FailedDeliveryObject)])


class FailedQuery(PageQuery):
    filter_email_type = ChoiceField(
        "inbound",
        "outbound",
        "inbound_quarantined",
        help_text="Here all of them are outbound: what an alias refuses is in its figures.",
    )


class Resending(Input):
    recipient_ids = RecipientIdsField(allow_null=True, initial=[EXAMPLE_RECIPIENT_ID])


class FailedView(ApiView):
    def mine(self) -> FailedDeliveryQuerySet:
        return FailedDelivery.objects.owned_by(self.caller)

    def one(self, uuid: UUID) -> FailedDelivery:
        """The caller's failed delivery of this id. Raises NotFound."""
        for key in self.mine().values_list("pk", flat=True):
            if uuid in public_ids("failed delivery", key):
                return self.mine().newest_first().get(pk=key)
        raise NotFound(gettext("There is no such failed delivery."))


class FailedDeliveries(FailedView):
    scope = Scope.ACTIVITY

    @AddyCall(
        "What destinations refused, the latest first", FailedPage, parameters=[FailedQuery], refuses=(422,)
    )
    def get(self, request: Request) -> Answer:
        query = FailedQuery.read(self.query)
        page = Page(request.build_absolute_uri(request.path), self.query, query)
        rows = self.mine()
        if (query["filter[email_type]"] or "").startswith("inbound"):
            rows = rows.none()
        shown: Any = rows.newest_first()[page.rows]
        data = [failed_object(row, self.caller) for row in shown]
        total = rows.order_by()[: page.rows.stop + COUNTED_MAX].count()
        return Answer(page.answer(data, total))


class OneFailedDelivery(FailedView):
    scope = {"get": Scope.ACTIVITY, "delete": Scope.MANAGE}

    @AddyCall("One failed delivery", {"data": FailedDeliveryObject})
    def get(self, request: Request, uuid: UUID) -> Answer:
        return Answer({"data": failed_object(self.one(uuid), self.caller)})

    @AddyCall("Delete an entry, with the message if it is kept", status=204)
    def delete(self, request: Request, uuid: UUID) -> Answer:
        self.one(uuid).remove()
        return Answer(status=204)


class DownloadedFailed(FailedView):
    scope = Scope.ACTIVITY

    @AddyCall("The message: refused, because the page alone gives it out", refuses=(403,))
    def get(self, request: Request, uuid: UUID) -> Answer:
        self.one(uuid)
        raise NotOffered(
            gettext("No token can read a message. Download it on the web page: %(url)s")
            % {"url": absolute_url("failed-list")}
        )


class ResentFailed(FailedView):
    scope = Scope.MANAGE

    @AddyCall(
        "Send the message again, if it is kept: to these addresses of yours, or where it was to go",
        status=204,
        takes=Resending,
        refuses=(404, 422),
    )
    def post(self, request: Request, uuid: UUID) -> Answer:
        failed = self.one(uuid)
        if failed.is_reply:
            raise Unprocessable("id", gettext("Only mail to your alias can be sent again, not your replies."))
        emails = own_addresses(self.caller, Resending.read(self.fields)["recipient_ids"])
        count_or_refuse((RESENT, self.caller.pk))
        try:
            is_sent = resend(failed, self.destinations(failed, emails))
        except NotKept as error:
            raise NotFound(gettext("The message is not kept.")) from error
        if not is_sent:
            raise Unprocessable("id", gettext("The message could not be sent just now. Try again later."))
        return Answer(status=204)

    def destinations(self, failed: FailedDelivery, emails: list[str] | None) -> list[EmailAddress]:
        """Those that are asked for; else where it was to go, or now that this is none, all of the alias's."""
        mine = with_facts(EmailAddress.objects.filter(user=self.caller, verified=True))
        if emails:
            found = list(mine.filter(email__in=emails))
        else:
            current = list(mine.filter(alias_links__alias=failed.alias_id))
            found = [each for each in current if each.pk == failed.destination_id] or current
        self.refuse_new(found, failed)
        return found

    def refuse_new(self, destinations: list[EmailAddress], failed: FailedDelivery) -> None:
        """Raise Unprocessable if a token has added one of them since: it would read the message that way."""
        added = AddressChange.objects.owned_by(self.caller).filter(
            kind=AddressChange.Kind.ADDED, by_api=True, at__gt=failed.moment
        )
        if added.filter(address__in=[each.email for each in destinations]).exists():
            raise Unprocessable(
                "recipient_ids",
                gettext("A token has added this address since. Download the message on the web page: %(url)s")
                % {"url": absolute_url("failed-list")},
            )
