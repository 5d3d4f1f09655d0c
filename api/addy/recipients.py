"""addy.io's calls about recipients: one's own addresses."""

from typing import Any, ClassVar
from uuid import UUID

from allauth.account.models import EmailAddress
from django.db.models import Count, Q
from django.utils.translation import gettext
from rest_framework.request import Request

from accounts.models import User
from api.addy.ids import public_ids
from api.addy.inputs import EXAMPLE_RECIPIENT_ID, ChoiceField, IdField, Input, Query, RequiredTextField
from api.addy.objects import (
    CountedRecipientObject,
    RecipientObject,
    counted_recipient_object,
    example_user,
    recipient_object,
)
from api.addy.schema import AddyCall
from api.answers import Answer
from api.errors import NotFound, NotOffered, Unprocessable
from api.listing import with_key
from api.views import ApiView, Rights
from core.exceptions import RateLimited
from core.mails import absolute_url
from mailboxes.adding import add_address, send_verification
from mailboxes.changing import remove_address
from mailboxes.exceptions import NotAddable
from tokens.scopes import Scope

# Seconds: allauth's limit for the mail that verifies an address.
RESEND_AFTER = 180
COUNTED = {"data": CountedRecipientObject}


def counted(rows: Any) -> Any:
    """The same addresses, and the `number` of aliases that forward to each; the primary one first."""
    present = Count("alias_links", filter=Q(alias_links__alias__deleted_at=None))
    return rows.annotate(number=present).order_by("-primary", "pk")


def no_recipient() -> NotFound:
    return NotFound(gettext("There is no such recipient."))


def recipient_of(user: User, uuid: UUID | None) -> EmailAddress:
    """The user's address of this public id, with its key. Raises NotFound."""
    for row in with_key(EmailAddress.objects.filter(user=user)):
        if uuid in public_ids("recipient", row.pk):
            found: EmailAddress = row
            return found
    raise no_recipient()


class RecipientQuery(Query):
    filter_verified = ChoiceField("true", "false", help_text="Only those that are verified, or not.")


class NewRecipient(Input):
    email = RequiredTextField(initial="alice@elsewhere.example")


class RecipientId(Input):
    id = IdField(initial=EXAMPLE_RECIPIENT_ID)


class UnverifiedRecipient(Input):
    recipient_id = IdField(initial=EXAMPLE_RECIPIENT_ID)


class RecipientView(ApiView):
    """A view that shows one of the caller's addresses; other people's do not exist."""

    scope: ClassVar[Rights] = Scope.MANAGE

    def shown(self, key: int, status: int = 200) -> Answer:
        """The caller's address of this key, as it is now."""
        row = counted(with_key(self.caller.emailaddress_set.filter(pk=key))).first()
        if row is None:
            raise no_recipient()
        return Answer({"data": counted_recipient_object(row, self.caller)}, status=status)


def example_of_a_new_one() -> dict[str, Any]:
    address = EmailAddress(pk=0, email="alice@elsewhere.example")
    return {"data": {**recipient_object(address, example_user()), "aliases_count": 0}}


class Recipients(RecipientView):
    scope = {"get": Scope.CREATE, "post": Scope.MANAGE}

    @AddyCall(
        "Your own addresses",
        {"data": list[CountedRecipientObject]},
        parameters=[RecipientQuery],
        refuses=(422,),
    )
    def get(self, request: Request) -> Answer:
        rows: Any = with_key(EmailAddress.objects.filter(user=self.caller))
        if verified := RecipientQuery.read(self.query)["filter[verified]"]:
            rows = rows.filter(verified=verified == "true")
        return Answer({"data": [counted_recipient_object(row, self.caller) for row in counted(rows)]})

    @AddyCall(
        "Add an address that receives mail; you verify it with a link that is mailed to it",
        COUNTED,
        201,
        takes=NewRecipient,
        refuses=(422, 429, 503),
        example=example_of_a_new_one,
    )
    def post(self, request: Request) -> Answer:
        email = NewRecipient.read(self.fields)["email"]
        try:
            address = add_address(request._request, self.caller, email)
        except NotAddable as error:
            raise Unprocessable("email", error) from error
        return self.shown(address.pk, 201)


class OneRecipient(RecipientView):
    scope = {"get": Scope.CREATE, "delete": Scope.MANAGE}

    @AddyCall("One of your own addresses", {"data": RecipientObject})
    def get(self, request: Request, uuid: UUID) -> Answer:
        return Answer({"data": recipient_object(recipient_of(self.caller, uuid), self.caller)})

    @AddyCall(
        "Remove an address; aliases that forward only to it forward to your primary one from now on",
        status=204,
        refuses=(403, 404, 409),
    )
    def delete(self, request: Request, uuid: UUID) -> Answer:
        address = recipient_of(self.caller, uuid)
        if address.primary:
            raise NotOffered(
                gettext("Your primary address cannot be removed. Make another one primary first.")
            )
        primary = EmailAddress.objects.filter(user=self.caller, primary=True).first()
        remove_address(self.caller, address, move_to=primary, by_api=True)
        return Answer(status=204)


class ResentVerification(RecipientView):
    @AddyCall(
        "Mail the link that verifies an address once more",
        {"data": RecipientObject},
        takes=UnverifiedRecipient,
        refuses=(404, 422, 429, 503),
    )
    def post(self, request: Request) -> Answer:
        address = recipient_of(self.caller, UnverifiedRecipient.read(self.fields)["recipient_id"])
        if address.verified:
            raise NotFound(gettext("This address is verified already."))
        if not send_verification(request._request, address):
            raise RateLimited(
                gettext("The link was sent a moment ago. Try again later."), retry_after=RESEND_AFTER
            )
        return Answer({"data": recipient_object(address, self.caller)})


class AllowedRecipients(RecipientView):
    @AddyCall(
        "Let an address reply: nothing changes, because every verified one may",
        COUNTED,
        takes=RecipientId,
        refuses=(404, 422),
    )
    def post(self, request: Request) -> Answer:
        address = recipient_of(self.caller, RecipientId.read(self.fields)["id"])
        if not address.verified:
            raise Unprocessable("id", gettext("Verify the address first: open the link in the mail."))
        return self.shown(address.pk)


class AllowedRecipient(RecipientView):
    @AddyCall("Let an address no longer reply: refused", refuses=(403, 404))
    def delete(self, request: Request, uuid: UUID) -> Answer:
        recipient_of(self.caller, uuid)
        raise NotOffered(
            gettext("Who may reply is set for all your aliases, on the page Account: %(url)s")
            % {"url": absolute_url("account-replies")}
        )
