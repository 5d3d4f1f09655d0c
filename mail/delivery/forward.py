"""Forwarding a message to an alias's destinations, once to each, without the sender learning about them."""

import asyncio
import hashlib
import logging
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import IntegrityError
from django.utils import timezone

from core.db.violations import is_conflict
from core.sparing_logs import warn_sparingly
from mail.delivery import record
from mail.delivery.blocks import blocks
from mail.delivery.bounce import read_bounce
from mail.delivery.composing import Composed, as_it_came, hidden, trace
from mail.delivery.encrypting import HeldBack, for_holder
from mail.delivery.entries import NO_ALIAS, Begun, Disabled, Redirected, Released, Settled
from mail.delivery.gatherer import ANSWER_TIMEOUT
from mail.delivery.handover import LARGE, Answer, Head, Message, Said
from mail.delivery.lookups import NOTHING, OURS, CopiesOf, Destination, DestinationsOf, Known, Lookups
from mail.delivery.message import (
    Fields,
    is_looping,
)
from mail.delivery.next_hop import Accepted, NextHop, Outcome, Pending, Refused
from mail.delivery.proposals import Proposal
from mail.delivery.record import Ledger
from mail.delivery.reply import Replies
from mail.delivery.report import in_one_line
from mail.delivery.resolve import Kind, Resolution, needs_database
from mail.delivery.return_path import return_path
from mail.delivery.ruling import chosen_copies, ruled
from mail.delivery.screening import NOT_SCREENED, Screened, screen
from mail.delivery.tallies import MESSAGE_TIMES
from mail.encryption.certificates import OpenPgpKey
from mail.models import readable
from rules.judging import NO_PLAN, Plan

logger = logging.getLogger(__name__)

# Seconds for all destinations of a message. Postfix waits 600 for our answer (lmtp_data_done_timeout):
# one that came later would find the message handed over again.
FORWARD_TIME = 240.0


Key = tuple[int, str]


def recognised_by(message: Message, resolution: Resolution) -> Key:
    """The alias, and the digest, by which the message is recognised when it is handed over again: without
    an alias (NO_ALIAS), the digest covers the address too."""
    if resolution.kind in (Kind.FORWARD, Kind.ENDED) and resolution.alias_id is not None:
        return resolution.alias_id, message.digest
    return NO_ALIAS, hashlib.sha256(f"{resolution.address}\0{message.digest}".encode()).hexdigest()


@dataclass
class _Copy:
    """One destination of a message, and what is known of its copy for it."""

    destination_id: int
    email: str
    is_paused: bool = False
    key: OpenPgpKey | None = None
    # The delivery that was begun or settled before; is_accepted stays None until it is settled.
    delivery_id: int | None = None
    is_accepted: bool | None = None
    moment: datetime | None = None

    @property
    def is_waiting(self) -> bool:
        return self.is_accepted is None and not self.is_paused

    def is_underway(self, now: datetime) -> bool:
        """Whether somebody has begun to send it a moment ago, by either clock."""
        return self.moment is not None and abs(now - self.moment) < record.LEASE


def _is_held_back(key: OpenPgpKey | None) -> bool:
    return key is not None and key.is_over and key.holds_back


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

    async def leads_to_us(self, destination: str) -> bool:
        """Whether a destination is at a domain of ours, and no mailbox there."""
        return needs_database(destination) and (await self.lookups.resolve(destination)).kind in OURS

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
                _Copy(
                    destination.destination_id,
                    destination.email,
                    destination.is_paused or _is_held_back(keys.get(destination.destination_id)),
                    keys.get(destination.destination_id),
                    *known,
                )
                for destination, known in found
            ]
            key = alias_id, message.digest
            sending = _Sending(self, message, first.alias, key, first, screened, is_begun, plan, own)
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
        copy = _Copy(0, settings.MAIL_POSTMASTER, False, None, *known)
        return await _Sending(self, message, address, (NO_ALIAS, digest)).answer([copy])

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
        sender = _new_sender(head.sender, address, alias_id, key, secrets.token_hex(2))
        return Redirection(sender, destination.email, trace(head, address, alias_id))


@dataclass
class _Sending:
    """One message on its way to the destinations of one address."""

    forwarder: Forwarder
    message: Message
    address: str
    key: Key
    alias: Destination | None = None
    screened: Screened = NOT_SCREENED
    # The copy for its only destination is begun already, and does not lead to us.
    is_begun: bool = False
    plan: Plan = NO_PLAN
    # The alias's own destinations, wherever the message goes.
    own: tuple[str, ...] = ()

    async def answer(self, copies: Sequence[_Copy]) -> Answer:
        """Send the copies that are waiting, and return the answer for all of them."""
        alias_id, digest = self.key
        for copy in copies:
            known = self.forwarder.ledger.unwritten_outcome(alias_id, copy.destination_id, digest)
            copy.is_accepted = copy.is_accepted if known is None else known
        # The rules were applied, and counted, with the first copy of all.
        rule_ids = () if any(copy.is_accepted is not None for copy in copies) else self.plan.rule_ids
        now = timezone.now()
        due = [copy for copy in copies if copy.is_waiting and not copy.is_underway(now)]
        pending = sum(copy.is_waiting for copy in copies) - len(due)
        if due:
            try:
                pending += await self._send_all(due, rule_ids)
            except IntegrityError as error:
                if not is_conflict(error):
                    raise
                # Another process was faster, or the alias is gone: the next try finds out.
                pending += len(due)
        if pending:
            return Answer.LATER
        if any(copy.is_accepted is None for copy in copies):
            return Answer.PAUSED
        return Answer.DONE if any(copy.is_accepted for copy in copies) else Answer.REFUSED

    async def _send_all(self, copies: Sequence[_Copy], rule_ids: tuple[int, ...]) -> int:
        """Send them, one after the other; how many of them are pending. `rule_ids`: rules to be counted."""
        alias_id, digest = self.key
        ledger = self.forwarder.ledger
        deadline = time.monotonic() + FORWARD_TIME
        # Such a destination cannot be added, but its domain may have become ours since then.
        asks = alias_id and not self.is_begun
        ours = {copy.destination_id for copy in copies if asks and await self._leads_to_us(copy)}
        sender = readable(self.message.head.author)
        composed = await self._composed()
        contact = composed.contact or self.screened.contact
        contact_id = contact.contact_id if contact else None
        emails = [*self.own, *(copy.email for copy in copies)]
        heard = self.screened.heard_from(self.message.head.author, contact, emails)
        if not self.is_begun:
            stale = tuple(copy.delivery_id for copy in copies if copy.delivery_id is not None)
            await ledger.write(Begun(alias_id, digest, tuple(copy.destination_id for copy in copies), stale))
        pending = []
        for copy in copies:
            outcome: Outcome = Pending("out of time")
            caution = composed.caution
            if copy.destination_id in ours:
                outcome = Refused("5.4.6")
            elif time.monotonic() < deadline:
                outcome, caution = await self._send(composed, copy)
            if isinstance(outcome, Pending):
                logger.info(
                    "alias %s destination %s pending: %s", alias_id, copy.destination_id, outcome.reason
                )
                if outcome.is_ours:
                    await ledger.note_fault(f"next hop: {outcome.reason}")
                pending.append(copy.destination_id)
                continue
            copy.is_accepted = isinstance(outcome, Accepted)
            refusal = outcome if isinstance(outcome, Refused) else Refused("")
            status, reason = refusal.status, in_one_line(refusal.words)
            await ledger.settle(
                Settled(
                    alias_id,
                    copy.destination_id,
                    digest,
                    status,
                    sender,
                    reason,
                    contact_id,
                    composed.contact_name,
                    caution,
                    heard,
                    rule_ids,
                )
            )
            rule_ids = ()
        if pending:
            await ledger.release(Released(alias_id, digest, tuple(pending)))
        return len(pending)

    async def _send(self, composed: Composed, copy: _Copy) -> tuple[Outcome, str]:
        """What becomes of one copy, and what its owner should know of it."""
        if copy.key is not None and self.alias is not None:
            lookups, alias = self.forwarder.lookups, self.alias
            try:
                keys = await lookups.signing_keys(self.address.rpartition("@")[2])
                composed = await for_holder(
                    composed, self.message, alias.alias, alias.sender_format, copy.key, keys
                )
            except HeldBack:
                return Pending("not encrypted"), composed.caution
            except Exception as error:
                # It has begun: whatever it is, the copy is to be released.
                warn_sparingly(logger, "message not encrypted: %s", type(error).__name__)
                return Pending("not encrypted"), composed.caution
        outcome = await self.forwarder.next_hop.send(
            self._sender_for(copy), copy.email, composed.content, top=composed.top, utf8=self.message.utf8
        )
        return outcome, composed.caution

    async def _composed(self) -> Composed:
        alias_id, _digest = self.key
        subjects = self.plan.subjects
        if self.alias is None or not (self.alias.hides_replies or subjects):
            return as_it_came(self.message, self.address, alias_id)
        lookups, ledger = self.forwarder.lookups, self.forwarder.ledger
        return await hidden(self.message, self.alias, alias_id, lookups, ledger, subjects)

    async def _leads_to_us(self, copy: _Copy) -> bool:
        return await self.forwarder.leads_to_us(copy.email)

    def _sender_for(self, copy: _Copy) -> str:
        """A return path; the null sender for bounces, and for the postmaster, whom no bounce may reveal."""
        alias_id, digest = self.key
        if not alias_id:
            return ""
        return _new_sender(self.message.sender, self.address, alias_id, copy.destination_id, digest)


def _new_sender(sender: str, address: str, alias_id: int, destination_id: int, digest: str) -> str:
    """The envelope sender with which a message to the alias goes on: a bounce keeps the null sender."""
    domain = address.rpartition("@")[2]
    return return_path(alias_id, destination_id, domain, timezone.now(), digest) if sender else ""


@dataclass(frozen=True)
class Redirection:
    """How the mail server in front sends a message on by itself: its new envelope, and fields on top."""

    sender: str
    recipient: str
    fields: Fields


def _is_ascii(head: Head) -> bool:
    return head.sender.isascii() and all(text.isascii() for _name, text in head.fields)
