"""Counting blocks: together, a moment after the answers.

A blocked alias and an unknown address get the same answer. Writing the block before it would tell them
apart by the time it takes; so would writing it right after, to a client that times the next command.
"""

import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from django.db import DatabaseError, InterfaceError, connections, models, transaction
from django.db.models import F
from django.utils import timezone

from aliases.models import Alias
from core.db.compiled import CompiledChange, insert_rows
from core.db.statements import pipelined
from mail.delivery.database import call_with_database
from mail.models import Activity, Event, readable

logger = logging.getLogger(__name__)

# Seconds, at random, until the gathered blocks are written; and between two tries while the database is away.
DELAY = (0.1, 0.9)
PAUSE = 1.0
# Blocks that wait for the database; of further ones only the number is kept.
GATHERED_MAX = 10_000


class _Block(NamedTuple):
    alias_id: int
    sender: str
    moment: datetime


_COUNT = CompiledChange(
    lambda key, number, now: Alias.objects.filter(pk=key),
    lambda key, number, now: {"blocks": F("blocks") + number, "active_at": now},
    key=models.BigIntegerField(),
    number=models.IntegerField(),
    now=models.DateTimeField(),
)


class Blocks:
    """The blocks of this process that are not written yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._gathered: list[_Block] = []
        self._more: Counter[int] = Counter()
        self._has_writer = False

    def count(self, alias_id: int, sender: str) -> None:
        """Count a refused message to an alias, with its sender, within a second."""
        with self._lock:
            if len(self._gathered) < GATHERED_MAX:
                self._gathered.append(_Block(alias_id, sender, timezone.now()))
            else:
                self._more[alias_id] += 1
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
            if not gathered and not more:
                return
            try:
                _write(gathered, more)
            except (DatabaseError, InterfaceError):
                with self._lock:
                    self._gathered = gathered + self._gathered
                    self._more += more
                raise

    def write_last(self) -> None:
        """The same when the process ends: blocks that cannot be written are lost, which is logged."""
        try:
            call_with_database(self.write)
        except (DatabaseError, InterfaceError) as error:
            with self._lock:
                lost = len(self._gathered) + self._more.total()
            logger.warning("%d blocks not counted: %s", lost, type(error).__name__)

    def _write_soon(self) -> None:
        wait = secrets.SystemRandom().uniform(*DELAY)
        try:
            while True:
                time.sleep(wait)
                try:
                    call_with_database(self.write)
                except (DatabaseError, InterfaceError) as error:
                    logger.warning("blocks not counted yet: %s", type(error).__name__)
                    wait = PAUSE
                with self._lock:
                    if not self._gathered and not self._more:
                        self._has_writer = False
                        return
        finally:
            connections.close_all()


def _write(gathered: Sequence[_Block], more: Counter[int]) -> None:
    numbers = Counter(block.alias_id for block in gathered) + more
    now = timezone.now()
    activities = [
        Activity(alias_id=alias_id, event=Event.BLOCK, sender=readable(sender), moment=moment)
        for alias_id, sender, moment in gathered
    ]
    with transaction.atomic(), pipelined():
        # In the order of their keys, so that two processes do not wait for each other.
        _COUNT([{"key": key, "number": numbers[key], "now": now} for key in sorted(numbers)])
        insert_rows(activities)


blocks = Blocks()
