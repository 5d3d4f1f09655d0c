"""SimpleLogin's calls for mailboxes: one's own addresses."""

from typing import ClassVar

from allauth.account.models import EmailAddress
from django.db.models import Count, Q
from django.utils.translation import gettext
from rest_framework.request import Request

from api.answers import Answer
from api.errors import BadInput, NotFound, NotOffered
from api.schema import Call
from api.simplelogin.inputs import WRONG_MAILBOX, MailboxChanges, NewMailbox, RemovedMailbox
from api.simplelogin.objects import FullMailboxObject, full_mailbox_object, sample_user
from api.views import ApiView, Rights
from core.mails import absolute_url
from mailboxes.adding import add_address
from mailboxes.changing import remove_address
from tokens.scopes import Scope


class AllMailboxes(ApiView):
    scope: ClassVar[Rights] = Scope.CREATE

    def rows(self, **which: bool) -> list[FullMailboxObject]:
        """The caller's addresses of which this is true."""
        present = Count("alias_links", filter=Q(alias_links__alias__deleted_at=None))
        rows = EmailAddress.objects.filter(user=self.caller, **which).annotate(number=present)
        return [full_mailbox_object(row, self.caller, row.number) for row in rows.order_by("-primary", "pk")]

    @Call("All your addresses", {"mailboxes": list[FullMailboxObject]})
    def get(self, request: Request) -> Answer:
        return Answer({"mailboxes": self.rows()})


class Mailboxes(AllMailboxes):
    scope = {"get": Scope.CREATE, "post": Scope.MANAGE}

    @Call("Your verified addresses", {"mailboxes": list[FullMailboxObject]})
    def get(self, request: Request) -> Answer:
        return Answer({"mailboxes": self.rows(verified=True)})

    @Call(
        "Add an address that receives mail; you verify it with a link that is mailed to it",
        FullMailboxObject,
        201,
        takes=NewMailbox,
        example=lambda: full_mailbox_object(
            EmailAddress(pk=2, email="alice@elsewhere.example"), sample_user(), 0
        ),
    )
    def post(self, request: Request) -> Answer:
        email = NewMailbox.read(self.fields)["email"] or ""
        address = add_address(request._request, self.caller, email)
        return Answer(full_mailbox_object(address, self.caller, 0), status=201)


class OneMailbox(ApiView):
    """One of the caller's addresses. The primary one is chosen only on the web page."""

    scope = Scope.MANAGE

    def address(self, key: int) -> EmailAddress:
        """The address with this id. Raises NotFound if it is not the caller's."""
        found = EmailAddress.objects.filter(user=self.caller, pk=key).first()
        if found is None:
            raise NotFound(gettext("There is no such mailbox."))
        return found

    @Call(
        "Change an address: refused; you choose the primary one on the web page",
        {"updated": bool},
        takes=MailboxChanges,
        refuses=(403,),
    )
    def put(self, request: Request, key: int) -> Answer:
        address, data = self.address(key), MailboxChanges.read(self.fields)
        becomes_default = data["default"] and not address.primary
        if becomes_default or data["email"] not in (None, address.email):
            # A token never changes how its owner signs in.
            raise NotOffered(
                gettext("A token cannot change the addresses that sign in. Use the web page: %(url)s")
                % {"url": absolute_url("address-list")}
            )
        return Answer({"updated": True})

    @Call(
        "Remove an address; aliases that forward only to it need another one",
        {"deleted": bool},
        refuses=(409,),
    )
    def delete(self, request: Request, key: int) -> Answer:
        address = self.address(key)
        move_to = None
        if target := RemovedMailbox.read(self.fields)["transfer_aliases_to"]:
            others = EmailAddress.objects.filter(user=self.caller, verified=True).exclude(pk=address.pk)
            move_to = others.filter(pk=target).first()
            if move_to is None:
                raise BadInput(WRONG_MAILBOX)
        remove_address(self.caller, address, move_to=move_to, by_api=True)
        return Answer({"deleted": True})
