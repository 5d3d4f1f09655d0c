"""Forwarding a message to an alias's destinations, once to each, without the sender learning about them."""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db import IntegrityError

from core.db.violations import is_conflict
from mail.delivery.blocks import blocks
from mail.delivery.bounce import read_bounce
from mail.delivery.composing import trace
from mail.delivery.entries import NO_ALIAS, Begun, Disabled, Redirected
from mail.delivery.gatherer import ANSWER_TIMEOUT
from mail.delivery.handover import LARGE, Answer, Head, Message, Said
from mail.delivery.lookups import NOTHING, CopiesOf, Destination, DestinationsOf, Known, Lookups
from mail.delivery.message import Fields, is_looping
from mail.delivery.next_hop import NextHop
from mail.delivery.proposals import Proposal
from mail.delivery.record import Ledger
from mail.delivery.reply import Replies
from mail.delivery.resolve import Kind, Resolution
from mail.delivery.ruling import chosen_copies, ruled
from mail.delivery.screening import Screened, screen
from mail.delivery.sending import Copy, Key, Sending, new_sender
from mail.delivery.tallies import MESSAGE_TIMES
from mail.encryption.certificates import OpenPgpKey
from mail.models import readable
from rules.judging import NO_PLAN, Plan


def recognised_by(message: Message, resolution: Resolution) -> Key:
    """The alias, and the digest, by which the message is recognised when it is handed over again: without
    an alias (NO_ALIAS), the digest covers the address too."""
    if resolution.kind in (Kind.FORWARD, Kind.ENDED) and resolution.alias_id is not None:
        return resolution.alias_id, message.digest
    return NO_ALIAS, hashlib.sha256(f"{resolution.address}\0{message.digest}".encode()).hexdigest()


class Forwarder:
    """Takes messages on for one process: what it asks, what it writes, and where they go."""

    def __init__(self, next_hop: NextHop, lookups: Lookups, ledger: Ledger) -> None:
        self.next_hop = next_hop
        self.lookups = lookups
        self.ledger = ledger
        self.replies = Replies(next_hop, lookups, ledger)
        # Those that are being forwarded: the same one, handed over again, must wait.
        self._underway: set[Key] = set()
        self._turns = asyncio.Semaphore(settings.MAIL_MESSAGES_AT_ONCE)
        # Anybody can have us wait for the DNS: messages that ask for no proof do not wait with them.
        self._proofs = asyncio.Semaphore(settings.MAIL_MESSAGES_AT_ONCE)

    @property
    def is_busy(self) -> bool:
        """Whether messages are being forwarded: also some whose sender has hung up meanwhile."""
        return bool(self._underway) or self.replies.is_busy

    async def take(self, message: Message, resolution: Resolution) -> Answer | Said:
        """Take a message for an accepted recipient (mail.delivery.on_the_fly.made), and return the answer.

        Raises what the database raises while it is away or takes no changes: then nothing was sent, and the
        sender tries again.
        """
        began, said = time.perf_counter(), "failed"
        try:
            answer = await self._take_in_turn(message, resolution)
            said = answer.name.lower() if isinstance(answer, Answer) else "said"
        finally:
            MESSAGE_TIMES.observe(time.perf_counter() - began, resolution.kind.value, said)
        return answer

    async def _take_in_turn(self, message: Message, resolution: Resolution) -> Answer | Said:
        if resolution.asks_for_proof and resolution.correspondent:
            async with self._proofs:
                answer = await self._take_tagged(message, resolution)
            if answer is not None:
                return answer
        async with self._turns:
            return await self._take(message, resolution)

    async def _take_tagged(self, message: Message, resolution: Resolution) -> Answer | Said | None:
        if len(message.content) > LARGE:
            await asyncio.to_thread(message.read)
        return await self.replies.take_tagged(message, resolution)

    async def _take(self, message: Message, resolution: Resolution) -> Answer | Said:
        if resolution.kind is Kind.RETURN_PATH and resolution.address is not None:
            bounce = await asyncio.to_thread(read_bounce, resolution.address, message.content)
            if bounce:
                await self.ledger.write(bounce)
            return Answer.DONE
        if len(message.content) > LARGE:
            await asyncio.to_thread(message.read)
        key = recognised_by(message, resolution)
        if key in self._underway:
            return Answer.LATER
        self._underway.add(key)
        try:
            match resolution.kind:
                case Kind.ROLE:
                    return await self._to_postmaster(message, str(resolution.address), key[1])
                case Kind.REVERSE:
                    return await self.replies.take(message, resolution)
                case Kind.FORWARD if resolution.alias_id is not None:
                    return await self.forward(message, resolution, resolution.alias_id)
                case Kind.ENDED if resolution.alias_id is not None:
                    return await self._again(message, resolution.alias_id)
                case Kind.FULL:
                    return Answer.PAUSED
                case Kind.NEW:
                    return Answer.LATER
        finally:
            self._underway.discard(key)
        return Answer.REFUSED

    async def _again(self, message: Message, alias_id: int) -> Answer:
        """The answer for a message to an alias that is disabled: as before, if it was settled before and its
        sender has not heard of it. A refusal would be told as a failure of what has arrived."""
        is_accepted = await self.lookups.settled(alias_id, message.digest)
        if is_accepted is None:
            blocks.count(alias_id, message.head.author)
            return Answer.UNKNOWN
        return Answer.DONE if is_accepted else Answer.REFUSED

    async def forward(self, message: Message, alias: Resolution, alias_id: int) -> Answer:
        """Send the message to every destination of the alias that does not have it yet.

        Later while any is pending; done once all are settled and one at least has accepted; refused when
        all refuse for good. Raises what the database raises before anything is sent.
        """
        if is_looping(message.head.fields, alias_id):
            blocks.count(alias_id, message.head.author)
            return Answer.LOOP
        with self.ledger.expected:
            screened = await screen(self.lookups, message.head, alias, is_queued=message.is_queued)
            if screened.refusal:
                return screened.refusal
            plan = await ruled(self.lookups, message.head, alias)
            if plan.blocks:
                return await self._block(message.head, alias_id, screened, plan)
            if plan.destinations or plan.subjects:
                found, is_begun = await self.lookups.copies(alias_id, message.digest), False
            else:
                found, is_begun = await self._begun_if_plain(message, alias, alias_id)
            if not found:
                return Answer.REFUSED
            first = found[0][0]
            own = tuple(destination.email for destination, _known in found)
            if plan.destinations:
                found = await chosen_copies(self.lookups, plan, alias_id, message.digest, first)
            keys = await self._keys([destination for destination, _known in found])
            copies = [
                Copy.of(destination, known, keys.get(destination.destination_id))
                for destination, known in found
            ]
            sending = Sending(
                self.next_hop,
                self.lookups,
                self.ledger,
                message,
                first.alias,
                (alias_id, message.digest),
                alias=first,
                screened=screened,
                is_begun=is_begun,
                plan=plan,
                own=own,
            )
            answer = await sending.answer(copies)
            if plan.disables and answer in {Answer.DONE, Answer.REFUSED}:
                # Not before: of the next try for a copy that is pending, nothing would be sent.
                await self.ledger.write(Disabled(alias_id, message.sender))
            return answer

    async def _block(self, head: Head, alias_id: int, screened: Screened, plan: Plan) -> Answer:
        """Do what rules want that block the message. The sender is answered as somebody who is blocked."""
        if plan.disables:
            await self.ledger.write(Disabled(alias_id))
        contact_id = screened.contact.contact_id if screened.contact else None
        blocks.count(alias_id, head.author, contact_id, plan.rule_ids)
        return Answer.UNKNOWN

    async def _begun_if_plain(
        self, message: Message, alias: Resolution, alias_id: int
    ) -> tuple[list[tuple[Destination, Known]], bool]:
        """The alias's destinations, with what is known of the message's copies for them; and whether the copy
        for the only one, which nobody has begun before, is begun."""
        digest = message.digest
        if alias.hides_replies:
            # It has to be composed before it is begun.
            return await self.lookups.copies(alias_id, digest), False
        deadline = time.monotonic() + ANSWER_TIMEOUT

        def entry_for(copy: tuple[Destination, Known]) -> Begun | None:
            destination, known = copy
            key = destination.destination_id
            is_known = known != NOTHING or self.ledger.unwritten_outcome(alias_id, key, digest) is not None
            if is_known or destination.is_paused or destination.hides_replies:
                return None
            if destination.key_id is not None:
                # Whether it can be encrypted is found out before it is begun.
                return None
            return Begun(alias_id, digest, (key,), deadline=deadline)

        proposal = Proposal(CopiesOf(alias_id, digest), entry_for)
        try:
            found, entry = await self.ledger.propose(proposal, deadline)
        except IntegrityError as error:
            if not is_conflict(error):
                raise
            # Another process was faster.
            return await self.lookups.copies(alias_id, digest), False
        return found, entry is not None

    async def _keys(self, destinations: Sequence[Destination]) -> dict[int, OpenPgpKey | None]:
        """The keys of those destinations that have one."""
        with_key = [each for each in destinations if each.key_id is not None]
        if not with_key:
            return {}
        found = await asyncio.gather(
            *(self.lookups.destination_key(each.destination_id) for each in with_key)
        )
        return dict(zip([each.destination_id for each in with_key], found, strict=True))

    async def _to_postmaster(self, message: Message, address: str, digest: str) -> Answer:
        """Send the message to MAIL_POSTMASTER."""
        if is_looping(message.head.fields, NO_ALIAS):
            return Answer.LOOP
        known = await self.lookups.delivery_without_alias(digest)
        copy = Copy(0, settings.MAIL_POSTMASTER, False, None, *known)
        sending = Sending(self.next_hop, self.lookups, self.ledger, message, address, (NO_ALIAS, digest))
        return await sending.answer([copy])

    async def redirect(self, head: Head, alias: Resolution, alias_id: int) -> "Redirection | Answer | None":
        """Let the mail server in front send the message to the alias's destination, counted as forwarded.

        An answer if the alias does not take it. None, and nothing is counted, if it has to hand it over
        instead (`take`): to an alias with several destinations, a paused one or one with a key, whose replies
        hide its owner, or that no longer receives; if a rule of its owner's applies; in a loop, or if it
        needs SMTPUTF8. Raises TooLate after ANSWER_TIMEOUT, and what the database raises while it is away or
        takes no changes.

        Nothing recognises the message if it comes again. The mail server in front may fail to queue it after
        our answer; a second try that was swallowed then would be a message lost.
        """
        began, said = time.perf_counter(), "failed"
        try:
            found = await self._redirect(head, alias, alias_id)
            said = found.name.lower() if isinstance(found, Answer) else "redirected" if found else "queued"
        finally:
            MESSAGE_TIMES.observe(time.perf_counter() - began, alias.kind.value, said)
        return found

    async def _redirect(self, head: Head, alias: Resolution, alias_id: int) -> "Redirection | Answer | None":
        if not _is_ascii(head) or is_looping(head.fields, alias_id):
            return None
        deadline = time.monotonic() + ANSWER_TIMEOUT
        with self.ledger.expected:
            screened = await screen(self.lookups, head, alias)
            if screened.refusal:
                return screened.refusal
            plan = await ruled(self.lookups, head, alias)
            if plan.blocks:
                return await self._block(head, alias_id, screened, plan)
            if plan is not NO_PLAN:
                return None
            author = readable(head.author)
            contact = screened.contact

            def entry_for(destination: Destination) -> Redirected | None:
                if destination.is_paused or destination.hides_replies or destination.key_id is not None:
                    return None
                heard = screened.heard_from(head.author, contact, [destination.email])
                contact_id = contact.contact_id if contact else None
                key = destination.destination_id
                return Redirected(alias_id, key, author, deadline, contact_id, heard)

            proposal = Proposal(DestinationsOf(alias_id), entry_for)
            found, entry = await self.ledger.propose(proposal, deadline)
        if entry is None:
            return None
        destination: Destination = found[0]
        address, key = destination.alias, destination.destination_id
        # In place of a digest: what tells a day's messages apart in a return path.
        sender = new_sender(head.sender, address, alias_id, key, secrets.token_hex(2))
        return Redirection(sender, destination.email, trace(head, address, alias_id))


@dataclass(frozen=True)
class Redirection:
    """How the mail server in front sends a message on by itself: its new envelope, and fields on top."""

    sender: str
    recipient: str
    fields: Fields


def _is_ascii(head: Head) -> bool:
    return head.sender.isascii() and all(text.isascii() for _name, text in head.fields)
