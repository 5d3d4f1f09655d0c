"""SimpleLogin's calls for contacts and their reverse aliases."""

from datetime import datetime
from typing import Any

from django.utils.translation import gettext
from rest_framework.request import Request

from aliases.choosing import preferences_of
from aliases.models import Alias, SenderFormat
from api.answers import Answer
from api.errors import NotFound
from api.schema import EXAMPLES, Call
from api.simplelogin.inputs import PAGE_ID, NewContact, page_number
from api.simplelogin.objects import SINCE, Creation, creation
from api.views import ApiView
from contacts.book import add_contact
from contacts.models import Contact
from contacts.showing import reverse_alias
from tokens.scopes import Scope

PAGE_SIZE = 20  # SimpleLogin's PAGE_LIMIT


class ContactObject(Creation):
    """A correspondent of an alias; the last mail sent is the last reply."""

    id: int
    contact: str
    reverse_alias: str
    reverse_alias_address: str
    last_email_sent_date: str | None
    last_email_sent_timestamp: int | None
    existed: bool
    block_forward: bool


def contact_object(
    contact: Contact, sender_format: str, *, existed: bool = False, activity: bool = False
) -> ContactObject:
    """A contact. Without `activity`, which the token may not read, nothing seems to have been sent."""
    sent = creation(contact.last_reply_at) if activity and contact.last_reply_at else None
    return {
        "id": contact.pk,
        "contact": contact.address,
        "reverse_alias": reverse_alias(sender_format, contact.name, contact.address, contact.reverse_address),
        "reverse_alias_address": contact.reverse_address,
        **creation(contact.created),
        "last_email_sent_date": sent["creation_date"] if sent else None,
        "last_email_sent_timestamp": sent["creation_timestamp"] if sent else None,
        "existed": existed,
        "block_forward": contact.blocked,
    }


def sample_contact() -> Contact:
    return Contact(
        pk=3,
        address="jane@shop.test",
        name="Jane Doe",
        reverse_address="r.mfrggzdfmztwq2lknnwg23tpob@example.com",
        created=SINCE,
        last_reply_at=datetime.fromisoformat("2026-11-25T08:30:00+00:00"),
    )


EXAMPLES[ContactObject] = lambda: contact_object(sample_contact(), SenderFormat.AT, activity=True)


class ContactView(ApiView):
    def shown(self, contact: Contact, *, existed: bool = False) -> ContactObject:
        sender_format = preferences_of(self.caller).sender_format
        return contact_object(contact, sender_format, existed=existed, activity=self.shows_activity)

    def contact(self, key: int) -> Contact:
        """The contact with this id. Raises NotFound if it is not the caller's."""
        found = Contact.objects.owned_by(self.caller).filter(pk=key).first()
        if found is None:
            raise NotFound(gettext("There is no such contact."))
        return found


class Contacts(ContactView):
    scope = {"get": Scope.ACTIVITY, "post": Scope.MANAGE}

    def alias(self, key: int) -> Alias:
        """The alias with this id. Raises NotFound if it is not the caller's."""
        found = Alias.objects.owned_by(self.caller).present().select_related("domain").filter(pk=key).first()
        if found is None:
            raise NotFound(gettext("There is no such alias."))
        return found

    @Call(
        "The contacts of an alias, twenty a page, the newest first",
        {"contacts": list[ContactObject]},
        parameters=[PAGE_ID],
    )
    def get(self, request: Request, key: int) -> Answer:
        start = page_number(self.query, "page_id") * PAGE_SIZE
        rows: Any = Contact.objects.of(self.alias(key)).newest_first()[start : start + PAGE_SIZE]
        return Answer({"contacts": [self.shown(contact) for contact in rows]})

    @Call(
        "Make a reverse alias, to write to somebody from the alias (200: it was there already)",
        ContactObject,
        201,
        takes=NewContact,
        also=(200,),
    )
    def post(self, request: Request, key: int) -> Answer:
        alias, data = self.alias(key), NewContact.read(self.fields)
        contact, existed = add_contact(alias, data["contact"])
        return Answer(self.shown(contact, existed=existed), status=200 if existed else 201)


class OneContact(ContactView):
    scope = Scope.MANAGE

    @Call("Delete a contact and its reverse alias", {"deleted": bool})
    def delete(self, request: Request, key: int) -> Answer:
        self.contact(key).delete()
        return Answer({"deleted": True})


class ContactToggle(ContactView):
    scope = Scope.MANAGE

    @Call("Block a contact, or take its mail again", {"block_forward": bool})
    def post(self, request: Request, key: int) -> Answer:
        return Answer({"block_forward": self.contact(key).toggle()})
