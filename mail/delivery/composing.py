"""The octets in which a message to an alias goes on: as it came, or with reverse addresses in its header."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.conf import settings

from contacts.book import PER_MESSAGE, Correspondent, Found, Wanted
from contacts.showing import shown_name
from core.mailboxes import Mailbox
from domains.models.dkim_key import DkimKey
from mail.delivery.authentication import results
from mail.delivery.dkim import sign_with
from mail.delivery.handover import LARGE, Head, Message
from mail.delivery.hiding import REPLIES_FIELD, Incoming
from mail.delivery.lookups import Destination, Lookups
from mail.delivery.marking import marked
from mail.delivery.message import Fields, Octets, joint, may_offer_unsubscribe, trace_fields, written
from mail.delivery.record import Ledger
from mail.delivery.vouching import without_vouchers
from mail.models import Caution
from mail.unsubscribe import unsubscribe_path

# What the owner can filter by.
HIDDEN = "hidden"
VISIBLE = {Caution.FORGED: "visible; forged", Caution.NO_CONTACT: "visible; no contact"}


@dataclass(frozen=True)
class Composed:
    """What is sent: `content` below `top`. `contact`: the author's, if a reverse address stands for them, and
    the name in their own From if the contact has none yet. `caution`: why there is none, although there
    should be. `has_whole_header`: whether the whole header is in `top`."""

    top: bytes
    content: Octets
    contact: Correspondent | None = None
    contact_name: str = ""
    caution: str = ""
    has_whole_header: bool = False


def trace(head: Head, address: str, alias_id: int, *, may_offer: bool | None = None) -> Fields:
    """The fields that go on top; `may_offer` says whether they may offer to disable the alias, unless the
    message's own header says that."""
    offers = may_offer_unsubscribe(head.fields) if may_offer is None else may_offer
    unsubscribe = f"{settings.SITE_URL}{unsubscribe_path(alias_id)}" if alias_id and offers else None
    return trace_fields(address, alias_id, head.client, head.protocol, unsubscribe)


def as_it_came(
    message: Message,
    address: str,
    alias_id: int,
    caution: Caution | None = None,
    subjects: Sequence[str] = (),
) -> Composed:
    """The message's own octets below our fields; with these subjects (mail.delivery.marking), its header is
    written anew."""
    fields = trace(message.head, address, alias_id)
    if caution:
        fields = [*fields, (REPLIES_FIELD, VISIBLE[caution])]
    content = without_vouchers(message.content, message.head.fields)
    if subjects:
        incoming = Incoming(bytes(content), message.sender, address)
        header = b"".join(field.octets for field in marked(incoming.fields, subjects))
        top = written(fields) + header + b"\r\n"
        return Composed(top, incoming.body, caution=caution or "", has_whole_header=True)
    return Composed(written(fields) + joint(content), content, caution=caution or "")


async def hidden(
    message: Message,
    alias: Destination,
    alias_id: int,
    lookups: Lookups,
    ledger: Ledger,
    subjects: Sequence[str] = (),
) -> Composed:
    """The message with reverse addresses and these subjects, signed; as it came if its author is forged,
    which a reverse address would hide, or can have no contact today.

    What came for an alias that does not hide its owner is hidden for the sake of its new subject, which ends
    the author's own signature. Without a contact, it keeps its subject. Raises what the database raises.
    """
    is_wanted = alias.hides_replies
    if results(message.head.fields).is_forged:
        # There is no signature to keep.
        caution = Caution.FORGED if is_wanted else None
        return as_it_came(message, alias.alias, alias_id, caution, subjects)
    parts = message.content, message.sender, alias.alias
    is_large = len(message.content) > LARGE
    incoming = await asyncio.to_thread(Incoming, *parts) if is_large else Incoming(*parts)
    found, keys = await asyncio.gather(
        _contacts(incoming, alias_id, lookups, ledger), lookups.signing_keys(_domain(alias.alias))
    )
    if incoming.author is not None and incoming.author not in found:
        return as_it_came(message, alias.alias, alias_id, Caution.NO_CONTACT if is_wanted else None)
    if subjects:
        incoming.fields = marked(incoming.fields, subjects)
    fields = [
        *trace(message.head, alias.alias, alias_id, may_offer=not incoming.has_unsubscribe),
        (REPLIES_FIELD, HIDDEN),
    ]
    # Signing takes a millisecond, in which others have their turn.
    top = await asyncio.to_thread(
        _signed, incoming, _shown(incoming, found, alias.sender_format), written(fields), keys
    )
    if incoming.author is None:
        return Composed(top, incoming.body, has_whole_header=True)
    contact = found[incoming.author]
    is_unnamed = not contact.name and not contact.is_name_kept
    named = incoming.author_name if is_unnamed else ""
    return Composed(top, incoming.body, contact, named, has_whole_header=True)


async def _contacts(incoming: Incoming, alias_id: int, lookups: Lookups, ledger: Ledger) -> Found:
    """The contacts of those whom the message names, made if they are missing, as far as the limits allow."""
    named = incoming.correspondents[:PER_MESSAGE]
    addresses = [address for address, _name in named]
    found = await lookups.contacts(alias_id, addresses)
    if len(found) < len(addresses):
        found = await ledger.contacts(Wanted(alias_id, tuple(named)))
    return found


def _shown(incoming: Incoming, found: Found, sender_format: str | None) -> dict[str, Mailbox]:
    shown = {}
    for address, contact in found.items():
        name = contact.name or (incoming.author_name if address == incoming.author else "")
        shown[address] = Mailbox(shown_name(sender_format or "AT", name, address), contact.reverse_address)
    return shown


def _signed(incoming: Incoming, shown: Mapping[str, Mailbox], top: bytes, keys: list[DkimKey]) -> bytes:
    """The whole new header: the fields that sign the message, those in `top`, and the rewritten ones."""
    header = top + incoming.rewritten(shown)
    return sign_with(keys, _domain(incoming.alias), header, incoming.body) + header


def _domain(address: str) -> str:
    return address.rpartition("@")[2]
