import logging
import signal
import threading
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand
from django.db import DatabaseError, InterfaceError, close_old_connections

from anonmail_site.chores import Chores
from core.sparing_logs import warn_sparingly
from core.supervised import end_with_supervisor, report_serving
from hooks.courier import Courier

logger = logging.getLogger("anonmail_site.worker")

# The settings of the commands that it runs; its own may be anonmail_site.worker_settings.
SITE_SETTINGS = "anonmail_site.settings"
# Seconds between two looks; between two while the database is away.
EVERY = 1.0
PAUSE = 5.0


class Command(BaseCommand):
    help = (
        "Send web hooks, and run the daily tasks at once and every 24 hours. `serve` runs it; several hosts "
        "may, and each message is sent by one of them."
    )
    requires_system_checks: list[str] = []  # noqa: RUF012 - `serve` runs them, and here is not every app

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()

        def end(number: int, frame: FrameType | None) -> None:
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, end)
        end_with_supervisor()
        report_serving()
        work(stop, Courier(), Chores(SITE_SETTINGS))


def work(stop: threading.Event, courier: Courier, chores: Chores) -> None:
    """Send and run what is due, until told to stop; what has begun to be sent is finished."""
    try:
        while not stop.is_set():
            chores.look()
            if courier.hooks_stopped.is_set():
                courier.hooks_stopped.clear()
                chores.ask("report_stopped_hooks")
            pause = EVERY
            close_old_connections()
            try:
                if courier.look() or courier.is_full:
                    # There may be more.
                    pause = 0.05
            except (DatabaseError, InterfaceError) as error:
                warn_sparingly(logger, "the worker cannot read what is due: %s", type(error).__name__)
                pause = PAUSE
            stop.wait(pause)
    finally:
        chores.close()
        courier.close()
