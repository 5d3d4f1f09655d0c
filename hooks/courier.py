"""Sending messages to hooks, several at once, for as long as a process runs."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

from django.db import DatabaseError, InterfaceError, connections

from core.sparing_logs import warn_sparingly
from hooks.models import HookMessage
from hooks.sending import record, send, take
from hooks.turns import Turns

logger = logging.getLogger(__name__)

# Messages that a process sends at once, one to a hook at most.
THREADS = 4


class Courier:
    """Sends what is due. `hooks_stopped` is set when a hook has been stopped, whose owner is to be told."""

    def __init__(self) -> None:
        self.hooks_stopped = threading.Event()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="hooks")
        self._lock = threading.Lock()
        # The hooks to which something is being sent, with their owners.
        self._busy: dict[int, int | None] = {}
        self._turns = Turns()

    def look(self) -> int:
        """Begin to send what is due, as far as threads are free; to how many hooks. Raises what the database
        raises."""
        with self._lock:
            busy = dict(self._busy)
        messages = take(THREADS - len(busy), busy, self._turns)
        for message in messages:
            with self._lock:
                self._busy[message.hook_id] = message.hook.owner_id
            self._pool.submit(self._deliver, message)
        return len(messages)

    @property
    def is_full(self) -> bool:
        """Whether no more can be sent at this moment."""
        with self._lock:
            return len(self._busy) >= THREADS

    def close(self) -> None:
        """Return when what has begun is done."""
        self._pool.shutdown()

    def _deliver(self, message: HookMessage) -> None:
        try:
            outcome = send(message)
            logger.info(
                "hook %s message %s: %s", message.hook_id, message.pk, outcome.status or outcome.problem
            )
            if record(message, outcome):
                self.hooks_stopped.set()
        except (DatabaseError, InterfaceError) as error:
            # It is sent once more when its lease is over.
            warn_sparingly(logger, "what became of a hook's message is not written: %s", type(error).__name__)
        except Exception:
            logger.exception("hook %s message %s", message.hook_id, message.pk)
        finally:
            # A thread may wait for long, or end.
            connections.close_all()
            with self._lock:
                self._busy.pop(message.hook_id, None)
