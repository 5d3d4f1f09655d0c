"""Sums for monitoring, which all processes and hosts keep together in the database.

What is counted is gathered in memory, and added to the sums by a thread every few seconds: counting waits for
nothing, and a restart loses nothing. Labels are words of ours: never an address, a name or an id.
"""

import atexit
import logging
import threading
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import ClassVar

from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections, connection, connections, models

from core.db.rows import params_of_rows, rows_in_statement, values_of_rows
from core.db.statements import run
from core.sparing_logs import warn_sparingly

logger = logging.getLogger(__name__)

# Seconds for which sums are gathered before they are written.
EVERY = 5.0
# Upper bounds in seconds, for what takes milliseconds or waits for another server.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
BUCKETS = (*map(str, BOUNDS), "+Inf")
_SEPARATOR = "|"

# A metric's name, the values of its labels, and a bucket of a histogram or "".
Key = tuple[str, tuple[str, ...], str]


class Tally(models.Model):
    """A sum, or one part of a histogram, since the installation was set up."""

    name = models.CharField(max_length=60)
    labels = models.CharField(max_length=200, blank=True)
    bucket = models.CharField(max_length=8, blank=True)
    value = models.FloatField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["name", "labels", "bucket"], name="tally_unique")]

    def __str__(self) -> str:
        return f"{self.name} {self.labels} {self.bucket}"

    @property
    def label_values(self) -> tuple[str, ...]:
        return tuple(self.labels.split(_SEPARATOR)) if self.labels else ()


class Metric:
    """Something that is counted. `labels`: the names of its labels, each with few values."""

    known: ClassVar[dict[str, "Metric"]] = {}

    def __init__(self, name: str, help: str, *labels: str) -> None:
        self.name, self.help, self.labels = name, help, labels
        self.known[name] = self


class Count(Metric):
    """How often something has happened."""

    def add(self, *labels: str, number: int = 1) -> None:
        """Count that it happened so often, with the values of the labels."""
        if settings.METRICS_TOKEN:
            _sums.add({(self.name, labels, ""): number})


class Times(Metric):
    """How long something takes: a histogram."""

    def observe(self, seconds: float, *labels: str) -> None:
        """Count that it took so long, with the values of the labels."""
        if settings.METRICS_TOKEN:
            bucket = BUCKETS[bisect_left(BOUNDS, seconds)]
            _sums.add({(self.name, labels, ""): seconds, (self.name, labels, bucket): 1})


class Moment(Metric):
    """When something was last done."""

    def is_now(self) -> None:
        """Write that it is done now. Raises what the database raises."""
        Tally.objects.update_or_create(
            name=self.name, labels="", bucket="", defaults={"value": round(time.time())}
        )


class Sums:
    """What this process has counted and not written yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._gathered: defaultdict[Key, float] = defaultdict(float)
        self._has_writer = self._writes_at_exit = False

    def add(self, numbers: Mapping[Key, float]) -> None:
        """Add these numbers, and have them written soon."""
        with self._lock:
            for key in numbers:
                self._gathered[key] += numbers[key]
            if self._has_writer:
                return
            self._has_writer = True
        start(self._write_until_idle)

    def write(self) -> None:
        """Add what was gathered to the database's sums, or keep it and raise DatabaseError or
        InterfaceError."""
        with self._writing:
            with self._lock:
                gathered, self._gathered = self._gathered, defaultdict(float)
            if not gathered:
                return
            try:
                _write(gathered)
            except (DatabaseError, InterfaceError):
                with self._lock:
                    for key in gathered:
                        self._gathered[key] += gathered[key]
                raise

    def write_last(self) -> None:
        """The same when the process ends: what cannot be written is lost."""
        try:
            self.write()
        except (DatabaseError, InterfaceError) as error:
            logger.warning("figures for monitoring are lost: %s", type(error).__name__)
        finally:
            connections.close_all()

    def _write_until_idle(self) -> None:
        if not self._writes_at_exit:
            self._writes_at_exit = True
            atexit.register(self.write_last)
        try:
            while True:
                time.sleep(EVERY)
                try:
                    self.write()
                except (DatabaseError, InterfaceError) as error:
                    warn_sparingly(
                        logger, "figures for monitoring are not written yet: %s", type(error).__name__
                    )
                close_old_connections()
                with self._lock:
                    if not self._gathered:
                        self._has_writer = False
                        return
        finally:
            connections.close_all()


def _write(sums: Mapping[Key, float]) -> None:
    meta = Tally._meta
    fields = [meta.get_field(name) for name in ("name", "labels", "bucket", "value")]
    # In a fixed order, so that two processes do not wait for each other.
    rows = sorted(
        (name, _SEPARATOR.join(labels), bucket, float(value))
        for (name, labels, bucket), value in sums.items()
    )
    sql = (
        f"INSERT INTO {connection.ops.quote_name(meta.db_table)} AS kept (name, labels, bucket, value) "  # noqa: S608
        f"{values_of_rows(fields, rows_in_statement(len(rows), connection), connection)} "  # type: ignore[arg-type]
        "ON CONFLICT (name, labels, bucket) DO UPDATE SET value = kept.value + excluded.value "
        "RETURNING name"
    )
    run(connection, sql, params_of_rows(rows, connection))


def start(write: Callable[[], None]) -> None:
    """Run it in a thread; tests replace this."""
    threading.Thread(target=write, name="tallies", daemon=True).start()


_sums = Sums()
write_now, write_last = _sums.write, _sums.write_last
