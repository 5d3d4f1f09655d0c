"""Sending as an alias: answers that come to reverse addresses, and mail from the submission door."""

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from django.db import IntegrityError
from django.utils import timezone

from contacts.addresses import correspondent_address, correspondent_in_tag, is_reverse_address
from core.addresses import AddressError, domain_or_none
from core.db.violations import is_conflict
from core.mailboxes import Mailbox
from core.public_suffixes import registrable_domain
from core.sparing_logs import warn_sparingly
from domains.models.dkim_key import DkimKey
from mail.delivery import record
from mail.delivery.blocks import blocks
from mail.delivery.cleaning import Draft, Unsendable, Writer, cleaned
from mail.delivery.dkim import sign_with
from mail.delivery.entries import NO_ALIAS, Begun, Released, Replied
from mail.delivery.handover import Answer, Message, Said
from mail.delivery.lookups import Lookups
from mail.delivery.message import Octets, needs_utf8
from mail.delivery.next_hop import Accepted, NextHop, Pending, Refused
from mail.delivery.proof import CannotTell, Unproven, prove
from mail.delivery.record import Ledger
from mail.delivery.reply_notices import tell_of_refusal, tell_of_return
from mail.delivery.report import in_one_line
from mail.delivery.resolve import Resolution
from mail.delivery.return_path import return_path_of_reply
from mail.delivery.vouching import Client, vouched_client
from mail.delivery.writers import (
    Addressee,
    Notice,
    Owner,
    OwnerOf,
    SentBefore,
    StillSending,
    Turn,
    Written,
)

logger = logging.getLogger(__name__)

DNS_AWAY = Said("451 4.4.3 Cannot check now who sent this, try again later")
TOO_MANY = Said("450 4.7.1 Too many messages from this alias for now, try again later")
TOO_MANY_RECIPIENTS = Said("452 4.5.3 Too many new correspondents today, try again tomorrow")
# Mails a day that tell a person about messages from somebody who could not prove to be them, and about
# replies that came back.
UNPROVEN_PER_DAY = 1
REFUSED_PER_DAY = 20
# Seconds after which no other copy of a message is begun: its sender waits for the answer.
SEND_TIME = 60.0


def refused(reason: object) -> Said:
    """The reply that refuses a message with a reason, which begins a sentence."""
    return Said(f"550 5.7.1 {reason}. Nothing was sent")


def digest_of(contact_id: int, message_id: str) -> str:
    """What identifies a reply: two with one Message-ID are the same message (RFC 5322 §3.6.4)."""
    return hashlib.sha256(f"reply\0{contact_id}\0{message_id}".encode()).hexdigest()


@dataclass(frozen=True)
class _Copy:
    """A message on its way to one correspondent."""

    addressee: Addressee
    digest: str
    stale: tuple[int, ...] = ()


class Replies:
    """Sends messages as aliases for one process."""

    def __init__(self, next_hop: NextHop, lookups: Lookups, ledger: Ledger) -> None:
        self.next_hop = next_hop
        self.lookups = lookups
        self.ledger = ledger
        # Digests of copies that are being sent: a sender who has hung up meanwhile may send them again.
        self._underway: set[str] = set()

    @property
    def is_busy(self) -> bool:
        """Whether copies are being sent."""
        return bool(self._underway)

    async def take(self, message: Message, resolution: Resolution) -> Answer | Said:
        """Take a message to a reverse address: it goes out if its alias's owner has written it.

        Raises what the database raises while it is away or takes no changes: then nothing was sent.
        """
        alias_id, contact_id = resolution.alias_id, resolution.contact_id
        if alias_id is None or contact_id is None:
            return Answer.REFUSED
        if not message.sender:
            # A report or an automatic answer (RFC 5321 §4.5.5): nobody may get one in return.
            blocks.count(alias_id, message.head.author)
            return Answer.DONE
        draft, recipient = message.draft, str(resolution.address)
        owner = await self._owner(alias_id, draft, contact_id)
        if owner is None:
            return Answer.REFUSED
        addressee = next((each for each in owner.addressees if each.contact_id == contact_id), None)
        if addressee is None:
            return Answer.REFUSED
        client = _client_of(message, recipient)
        try:
            await prove(draft, message.head.fields, message.sender, client, owner.may_write, recipient)
        except CannotTell:
            return DNS_AWAY
        except (Unproven, Unsendable) as reason:
            blocks.count(alias_id, message.head.author)
            notice = Notice("unproven-replies", UNPROVEN_PER_DAY, owner.user_id, message.digest)
            await self._tell(notice, owner, addressee, str(reason), is_proven=False)
            return Answer.DONE if message.is_queued else refused(reason)
        return await self._send_or_tell(message, draft, owner, addressee)

    async def take_tagged(self, message: Message, resolution: Resolution) -> Answer | Said | None:
        """Send the message to the correspondent in the alias's tag if the alias's owner has written it.

        None if not, or if the DNS does not answer: it is mail to the alias then, and whoever sent it is told
        nothing else. The same is asked about everybody's, so that the time of the answer tells nobody whose
        the alias is.
        """
        alias_id, correspondent = resolution.alias_id, resolution.correspondent
        if alias_id is None or not message.sender:
            return None
        draft = message.draft
        owner = await self._owner(alias_id, draft, None)
        if owner is None:
            return None
        client = _client_of(message, owner.alias)
        try:
            await prove(
                draft,
                message.head.fields,
                message.sender,
                client,
                owner.own,
                resolution.as_written,
                is_guessable=True,
            )
        except (CannotTell, Unproven, Unsendable):
            return None
        if draft.author not in owner.may_write:
            if message.is_queued and message.sender.lower() not in owner.own:
                # The mail server in front would send its report to whoever is named as the sender.
                return None
            return refused("From is not an address of yours that may reply from this alias")
        met = await self.lookups.ask(Written(alias_id, (correspondent,)))
        if correspondent not in met:
            return TOO_MANY_RECIPIENTS
        return await self._send_or_tell(message, draft, owner, met[correspondent])

    async def _send_or_tell(
        self, message: Message, draft: Draft, owner: Owner, addressee: Addressee
    ) -> Answer | Said:
        """Send the owner's message; they hear why if it cannot go out."""
        try:
            return await self._send(message, draft, owner, [addressee])
        except Unsendable as reason:
            if not message.is_queued or message.sender.lower() in owner.own:
                return refused(reason)
            # The mail server in front would send its report to whoever is named as the sender.
            notice = Notice("refused-replies", REFUSED_PER_DAY, owner.user_id, message.digest)
            await self._tell(notice, owner, addressee, str(reason), is_proven=True)
            return Answer.DONE

    async def send_as(self, alias_id: int, message: Message, recipients: Sequence[str]) -> Answer | Said:
        """Send a message of the alias's owner, who has proven to be that, to the recipients of its envelope.

        Recipients that are reverse addresses of the alias, or tags of it in addy.io's form, become the
        correspondents; others become contacts.
        One answer for all: later while any is pending. Raises what the database raises while it is away.
        """
        draft = message.draft
        try:
            addresses = tuple(dict.fromkeys(map(correspondent_address, recipients)))
            owner = await self._owner(alias_id, draft, None, *addresses)
            if owner is None:
                return Answer.REFUSED
            if draft.author != owner.alias:
                return refused("From must be the alias")
            meant = [correspondent_in_tag(each, owner.alias) or each for each in addresses]
            addresses = tuple(dict.fromkeys(meant))
            behind = {each.reverse_address: each for each in owner.addressees}
            others = tuple(each for each in addresses if each not in behind)
            if any(map(is_reverse_address, others)):
                return refused("A recipient is a reverse address of another alias")
            met = await self.lookups.ask(Written(alias_id, others)) if others else {}
            if len(met) < len(others):
                return TOO_MANY_RECIPIENTS
            addressees = [behind.get(each) or met[each] for each in addresses]
            owner.preferences.replies_to_others = True
            return await self._send(message, draft, owner, addressees)
        except AddressError:
            return refused("A recipient's address is not valid")
        except Unsendable as reason:
            return refused(reason)

    async def _owner(
        self, alias_id: int, draft: Draft, contact_id: int | None, *recipients: str
    ) -> Owner | None:
        """The owner, and the contacts behind the reverse addresses among the recipients."""
        try:
            named = draft.recipients
        except Unsendable:
            named = set()  # Whoever may reply is told later.
        reverse = frozenset(filter(is_reverse_address, (*named, *recipients)))
        found: Owner | None = await self.lookups.ask(OwnerOf(alias_id, reverse, contact_id))
        return found

    async def _send(
        self, message: Message, draft: Draft, owner: Owner, addressees: Sequence[Addressee]
    ) -> Answer | Said:
        """Send the message to those who do not have it yet. Raises Unsendable."""
        message_id = draft.message_id or f"<{message.digest}@invalid>"
        references = [each for each in draft.references if each != message_id]
        digests = [digest_of(addressees[0].contact_id, each) for each in references]
        sent = await self.lookups.ask(SentBefore(tuple(digests))) if digests else frozenset()
        own_ids = frozenset(each for each, digest in zip(references, digests, strict=True) if digest in sent)
        hosts = _own_hosts(owner, addressees, message_id)
        is_own = _Ownership(hosts, own_ids)
        keys = await self.lookups.signing_keys(owner.domain)
        # Signing takes a millisecond, in which others have their turn.
        header, body = await asyncio.to_thread(_signed, draft, owner, message_id, is_own, keys)
        outcomes: list[Answer | Said] = []
        deadline = time.monotonic() + SEND_TIME
        for addressee in addressees:
            digest = digest_of(addressee.contact_id, message_id)
            if digest in self._underway or time.monotonic() > deadline:
                outcomes.append(Answer.LATER)
                continue
            self._underway.add(digest)
            try:
                outcomes.append(
                    await self._send_copy(
                        header, body, draft, owner, addressee, digest, is_queued=message.is_queued
                    )
                )
            finally:
                self._underway.discard(digest)
        for answer in (TOO_MANY, Answer.LATER):
            if answer in outcomes:
                return answer
        logger.info("alias %s reply: %s", owner.alias_id, ", ".join(each.value[:9] for each in outcomes))
        return Answer.DONE if Answer.DONE in outcomes else Answer.REFUSED

    async def _send_copy(
        self,
        header: bytes,
        body: Octets,
        draft: Draft,
        owner: Owner,
        addressee: Addressee,
        digest: str,
        *,
        is_queued: bool,
    ) -> Answer | Said:
        """Send one copy, unless that has happened before. `is_queued`: whoever hands the message over
        does not tell its author if it is refused."""
        known = await self.lookups.delivery_without_alias(digest)
        outcome = self.ledger.unwritten_outcome(NO_ALIAS, 0, digest)
        outcome = known.is_accepted if outcome is None else outcome
        if outcome is not None:
            return Answer.DONE if outcome else Answer.REFUSED
        if known.moment is not None and abs(timezone.now() - known.moment) < record.LEASE:
            return Answer.LATER
        turn = Turn(owner.user_id, addressee.contact_id, digest, draft.is_automatic)
        if not await self.lookups.ask(turn):
            return TOO_MANY
        stale = () if known.delivery_id is None else (known.delivery_id,)
        try:
            await self.ledger.write(Begun(NO_ALIAS, digest, (0,), stale))
        except IntegrityError as error:
            # Another process was faster.
            await self.lookups.ask(replace(turn, is_given_back=True))
            if not is_conflict(error):
                raise
            return Answer.LATER
        sender = return_path_of_reply(
            owner.alias_id, addressee.contact_id, owner.domain, timezone.now(), digest
        )
        async with self._leased(digest):
            sent = await self.next_hop.send(
                sender, addressee.address, body, top=header, utf8=needs_utf8(body, header)
            )
        if isinstance(sent, Pending):
            logger.info("alias %s contact %s pending: %s", owner.alias_id, addressee.contact_id, sent.reason)
            if sent.is_ours:
                await self.ledger.note_fault(f"next hop: {sent.reason}")
            await self.ledger.release(Released(NO_ALIAS, digest, (0,)))
            await self.lookups.ask(replace(turn, is_given_back=True))
            return Answer.LATER
        refusal = sent if isinstance(sent, Refused) else Refused("")
        await self.ledger.settle(
            Replied(
                NO_ALIAS,
                0,
                digest,
                refusal.status,
                addressee.address,
                in_one_line(refusal.words),
                from_alias=owner.alias_id,
                contact_id=addressee.contact_id,
            )
        )
        if isinstance(sent, Accepted):
            return Answer.DONE
        if is_queued:
            reader = owner.email, owner.language
            tell_of_return(*reader, owner.alias, addressee.address, refusal.status, refusal.words)
        return Answer.REFUSED

    @asynccontextmanager
    async def _leased(self, digest: str) -> AsyncIterator[None]:
        """Keep a copy underway for other processes, however long it takes."""

        async def renew() -> None:
            while True:
                await asyncio.sleep(record.LEASE.total_seconds() / 3)
                try:
                    await self.lookups.ask(StillSending(digest))
                except Exception as error:
                    warn_sparingly(logger, "delivery not renewed: %s", type(error).__name__)

        renewing = asyncio.create_task(renew())
        try:
            yield
        finally:
            renewing.cancel()

    async def _tell(
        self, notice: Notice, owner: Owner, addressee: Addressee, reason: str, *, is_proven: bool
    ) -> None:
        """Tell the owner why a message did not go out, if they are not told too often."""
        if await self.lookups.ask(notice):
            reader = owner.email, owner.language
            tell_of_refusal(*reader, owner.alias, addressee.address, reason, is_proven=is_proven)


def _client_of(message: Message, recipient: str) -> Client:
    """Who brought the message: to the mail server in front, or to us."""
    client = vouched_client(message.head.fields, recipient)
    return client if client.address else Client(message.peer)


def _signed(
    draft: Draft, owner: Owner, message_id: str, is_own: Callable[[str], bool], keys: Sequence[DkimKey]
) -> tuple[bytes, Octets]:
    """The header of the message that is sent, with its signatures, and its body. Raises Unsendable."""
    header, body = cleaned(draft, _writer(owner), message_id, is_own)
    return sign_with(keys, owner.domain, header, body) + header, body


def _writer(owner: Owner) -> Writer:
    return Writer(
        alias=owner.alias,
        name=owner.name,
        own=owner.own,
        correspondents={each.reverse_address: Mailbox(each.name, each.address) for each in owner.addressees},
        allows_others=owner.preferences.replies_to_others,
        allows_revealing=owner.preferences.allows_revealing,
        cleans_text=owner.preferences.cleans_text,
    )


@dataclass(frozen=True)
class _Ownership:
    """Whether the owner's mailbox made a Message-ID: one that we sent, or with a host name like its others.

    Beyond the memory of deliveries, only the host name can tell; a correspondent whose provider is the same
    is then believed to have made it, or threads would break.
    """

    hosts: frozenset[str]
    own_ids: frozenset[str]

    def __call__(self, message_id: str) -> bool:
        return message_id in self.own_ids or _organization(message_id) in self.hosts


def _own_hosts(owner: Owner, addressees: Sequence[Addressee], message_id: str) -> frozenset[str]:
    """The organizations in whose name the owner's mailbox makes Message-IDs, and no correspondent's does."""
    own = {_organization(each) for each in (*owner.own, message_id)}
    return frozenset(own - {_organization(each.address) for each in addressees})


def _organization(text: str) -> str:
    """The organization of the host in an address or a Message-ID; the host itself if it is in none."""
    host = text.rpartition("@")[2].strip("<>").lower()
    domain = domain_or_none(host)
    return (registrable_domain(domain) if domain else "") or host
