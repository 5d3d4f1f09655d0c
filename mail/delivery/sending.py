"""Sending the copies of one message, and recording what becomes of each."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import IntegrityError
from django.utils import timezone

from core.db.violations import is_conflict
from core.sparing_logs import warn_sparingly
from mail.delivery.composing import Composed, as_it_came, hidden
from mail.delivery.encrypting import HeldBack, for_holder
from mail.delivery.entries import Begun, Released, Settled
from mail.delivery.handover import Answer, Message
from mail.delivery.lookups import Destination, Known, Lookups
from mail.delivery.next_hop import NextHop, Outcome, Pending, Refused
from mail.delivery.record import LEASE, Ledger
from mail.delivery.report import in_one_line
from mail.delivery.return_path import return_path
from mail.delivery.screening import NOT_SCREENED, Screened
from mail.encryption.certificates import OpenPgpKey
from mail.models import readable
from rules.judging import NO_PLAN, Plan

logger = logging.getLogger(__name__)

# Seconds for all destinations of a message. Postfix waits 600 for our answer (lmtp_data_done_timeout):
# one that came later would find the message handed over again.
FORWARD_TIME = 240.0


Key = tuple[int, str]


@dataclass
class Copy:
    """One destination of a message, and what is known of its copy for it."""

    destination_id: int
    email: str
    is_paused: bool = False
    key: OpenPgpKey | None = None
    # The delivery that was begun or settled before; is_accepted stays None until it is settled.
    delivery_id: int | None = None
    is_accepted: bool | None = None
    moment: datetime | None = None

    @classmethod
    def of(cls, destination: Destination, known: Known, key: OpenPgpKey | None) -> "Copy":
        """The copy for a destination. `key`: the one to which it is encrypted; while that is over, the copy
        is paused if its holder wants it so."""
        is_held_back = key is not None and key.is_over and key.holds_back
        return cls(
            destination.destination_id, destination.email, destination.is_paused or is_held_back, key, *known
        )

    @property
    def is_waiting(self) -> bool:
        return self.is_accepted is None and not self.is_paused

    def is_underway(self, now: datetime) -> bool:
        """Whether somebody has begun to send it a moment ago, by either clock."""
        return self.moment is not None and abs(now - self.moment) < LEASE


@dataclass
class Sending:
    """One message on its way to the destinations of one address."""

    next_hop: NextHop
    lookups: Lookups
    ledger: Ledger
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

    async def answer(self, copies: Sequence[Copy]) -> Answer:
        """Send the copies that are waiting, and return the answer for all of them."""
        alias_id, digest = self.key
        for copy in copies:
            known = self.ledger.unwritten_outcome(alias_id, copy.destination_id, digest)
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

    async def _send_all(self, copies: Sequence[Copy], rule_ids: tuple[int, ...]) -> int:
        """Send them, one after the other; how many of them are pending. `rule_ids`: rules to be counted."""
        alias_id, digest = self.key
        ledger = self.ledger
        deadline = time.monotonic() + FORWARD_TIME
        # Such a destination cannot be added, but its domain may have become ours since then.
        asks = alias_id and not self.is_begun
        ours = {copy.destination_id for copy in copies if asks and await self.lookups.leads_to_us(copy.email)}
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
            copy.is_accepted, status, reason = True, "", ""
            if isinstance(outcome, Refused):
                copy.is_accepted, status, reason = False, outcome.status, in_one_line(outcome.words)
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

    async def _send(self, composed: Composed, copy: Copy) -> tuple[Outcome, str]:
        """What becomes of one copy, and what its owner should know of it."""
        if copy.key is not None and self.alias is not None:
            lookups, alias = self.lookups, self.alias
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
        outcome = await self.next_hop.send(
            self._sender_for(copy), copy.email, composed.content, top=composed.top, utf8=self.message.utf8
        )
        return outcome, composed.caution

    async def _composed(self) -> Composed:
        alias_id, _digest = self.key
        subjects = self.plan.subjects
        if self.alias is None or not (self.alias.hides_replies or subjects):
            return as_it_came(self.message, self.address, alias_id)
        lookups, ledger = self.lookups, self.ledger
        return await hidden(self.message, self.alias, alias_id, lookups, ledger, subjects)

    def _sender_for(self, copy: Copy) -> str:
        """A return path; the null sender for bounces, and for the postmaster, whom no bounce may reveal."""
        alias_id, digest = self.key
        if not alias_id:
            return ""
        return new_sender(self.message.sender, self.address, alias_id, copy.destination_id, digest)


def new_sender(sender: str, address: str, alias_id: int, destination_id: int, digest: str) -> str:
    """The envelope sender with which a message to the alias goes on: a bounce keeps the null sender."""
    domain = address.rpartition("@")[2]
    return return_path(alias_id, destination_id, domain, timezone.now(), digest) if sender else ""
