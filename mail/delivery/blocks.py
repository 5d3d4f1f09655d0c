"""Counting blocks: together, a moment after the answers.

A blocked alias and an unknown address get the same answer. Writing the block before it would tell them
apart by the time it takes; so would writing it right after, to a client that times the next command.
"""

import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from django.db import DatabaseError, InterfaceError, connections, models, transaction
from django.db.models import F
from django.utils import timezone

from aliases.models import Alias
from contacts.models import Contact
from core.db.changes import CompiledChange, insert_rows
from core.db.statements import pipelined
from core.sparing_logs import warn_sparingly
from mail.delivery.database import call_with_database
from mail.delivery.rule_rows import COUNT_RULES
from mail.delivery.tallies import MESSAGES
from mail.models import Activity, Event, readable

logger = logging.getLogger(__name__)

# Seconds, at random, until the gathered blocks are written; and between two tries while the database is away.
DELAY = (0.1, 0.9)
PAUSE = 1.0
# Blocks that wait for the database; of further ones only the number is kept.
GATHERED_MAX = 10_000


class _Block(NamedTuple):
    alias_id: int
    contact_id: int | None
    sender: str
    moment: datetime


_Blocked = tuple[int, int | None]  # an alias and, if it is known, the contact
_COUNT = CompiledChange(
    lambda key, number, now: Alias.objects.filter(pk=key),
    lambda key, number, now: {"blocks": F("blocks") + number, "active_at": now},
    key=models.BigIntegerField(),
    number=models.IntegerField(),
    now=models.DateTimeField(),
)
_COUNT_CONTACT = CompiledChange(
    lambda key, number: Contact.objects.filter(pk=key),
    lambda key, number: {"blocks": F("blocks") + number},
    key=models.BigIntegerField(),
    number=models.IntegerField(),
)
# The columns of what is inserted.
_ACTIVITY = ("alias_id", "contact_id", "event", "sender", "moment")


class Blocks:
    """The blocks of this process that are not written yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._gathered: list[_Block] = []
        self._more: Counter[_Blocked] = Counter()
        self._rules: Counter[int] = Counter()
        self._has_writer = False

    def count(
        self, alias_id: int, sender: str, contact_id: int | None = None, rule_ids: Iterable[int] = ()
    ) -> None:
        """Count a refused message within a second, against its alias and perhaps a contact of it, and for
        the rules of its owner's that were applied."""
        with self._lock:
            self._rules.update(rule_ids)
            if len(self._gathered) < GATHERED_MAX:
                self._gathered.append(_Block(alias_id, contact_id, sender, timezone.now()))
            else:
                self._more[alias_id, contact_id] += 1
            if self._has_writer:
                return
            self._has_writer = True
        threading.Thread(target=self._write_soon, name="blocks", daemon=True).start()

    def write(self) -> None:
        """Write all gathered blocks. Raises DatabaseError, and keeps them, while the database is away."""
        with self._writing:
            with self._lock:
                gathered, self._gathered = self._gathered, []
                more, self._more = self._more, Counter()
                rules, self._rules = self._rules, Counter()
            if not gathered and not more:
                return
            try:
                _write(gathered, more, rules)
            except (DatabaseError, InterfaceError):
                with self._lock:
                    self._gathered = gathered + self._gathered
                    self._more += more
                    self._rules += rules
                raise
            MESSAGES.add(Event.BLOCK.value, number=len(gathered) + more.total())

    def write_last(self) -> None:
        """The same when the process ends: blocks that cannot be written are lost, which is logged."""
        try:
            call_with_database(self.write)
        except (DatabaseError, InterfaceError) as error:
            with self._lock:
                lost = len(self._gathered) + self._more.total()
            logger.warning("%d blocks not counted: %s", lost, type(error).__name__)
        finally:
            connections.close_all()

    def _write_soon(self) -> None:
        wait = secrets.SystemRandom().uniform(*DELAY)
        try:
            while True:
                time.sleep(wait)
                try:
                    call_with_database(self.write)
                except (DatabaseError, InterfaceError) as error:
                    warn_sparingly(logger, "blocks not counted yet: %s", type(error).__name__)
                    wait = PAUSE
                with self._lock:
                    if not self._gathered and not self._more:
                        self._has_writer = False
                        return
        finally:
            connections.close_all()


def _write(gathered: Sequence[_Block], more: Counter[_Blocked], rules: Counter[int]) -> None:
    both = Counter((block.alias_id, block.contact_id) for block in gathered) + more
    aliases: Counter[int] = Counter()
    contacts: Counter[int] = Counter()
    for (alias_id, contact_id), number in both.items():
        aliases[alias_id] += number
        if contact_id is not None:
            contacts[contact_id] += number
    now = timezone.now()
    with transaction.atomic():
        # In the order of their keys, so that two processes do not wait for each other.
        _COUNT([{"key": key, "number": aliases[key], "now": now} for key in sorted(aliases)])
        present = Contact.objects.hold(contacts)
        activities = [
            (
                block.alias_id,
                block.contact_id if block.contact_id in present else None,
                Event.BLOCK.value,
                readable(block.sender),
                block.moment,
            )
            for block in gathered
        ]
        with pipelined():
            _COUNT_CONTACT([{"key": key, "number": contacts[key]} for key in sorted(present)])
            insert_rows(Activity, _ACTIVITY, activities)
            COUNT_RULES([{"key": key, "number": rules[key], "now": now} for key in sorted(rules)])


blocks = Blocks()
