"""What load balancers and monitors ask: whether this web server can do its work, and what else is wrong.

Answered before any other middleware: a probe speaks plain http and names any host. A stranger learns no more
than from any page, and what is asked of the database is asked once in a while.
"""

import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed, JsonResponse
from django.utils import timezone

from core.client_address import is_trusted
from core.db.availability import UNAVAILABLE, Condition, condition_after
from core.db.locks import limit_lock_wait, write_turn
from core.heartbeats import Heartbeat
from core.supervised import is_stopping
from mail.models import SiteFault

# How long an answer is given again, and after how long without another one the database counts as away.
KEPT = timedelta(seconds=2)
PATIENCE = timedelta(seconds=5)
# What the write waits for another transaction's lock.
LOCK_PATIENCE = timedelta(seconds=1)
# For how long a fault of the next hop is one of the queue's.
FAULT_LASTS = timedelta(minutes=5)
# Headers that proxies add.
_FROM_PROXIES = (
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_REAL_IP",
    "HTTP_FORWARDED",
    "HTTP_VIA",
)


@dataclass(frozen=True)
class Health:
    """What was found; `mail` and `queue` are words of docs/operations.md."""

    database: Condition
    mail: str = "unknown"
    queue: str = "unknown"

    @property
    def is_ready(self) -> bool:
        """Whether this server can answer what it is asked: mail processes do not matter to it."""
        return self.database is Condition.OK


def look() -> Health:
    """Write to the database, and read what the mail processes have written."""
    if not has_room():
        return Health(Condition.FULL)
    try:
        with write_turn(), transaction.atomic():
            limit_lock_wait(LOCK_PATIENCE)
            Heartbeat.objects.leave(Heartbeat.Kind.WEB, socket.gethostname())
        processes = list(Heartbeat.objects.filter(kind=Heartbeat.Kind.MAIL))
        is_delayed = SiteFault.objects.filter(
            what__startswith="next hop", last__gte=timezone.now() - FAULT_LASTS
        ).exists()
    except UNAVAILABLE as error:
        return Health(condition_after(error))
    if not processes:
        return Health(Condition.OK, "unused", "unused")
    mail = "ok" if any(process.is_fresh for process in processes) else "failing"
    return Health(Condition.OK, mail, "delayed" if is_delayed else "ok")


class Probe:
    """Looks once for all who ask within KEPT; while a look hangs, nobody else waits for it for long."""

    def __init__(self, look: Callable[[], Health] = look) -> None:
        self.look = look
        self._looking = threading.Lock()
        self._found: Health | None = None
        self._found_at = 0.0

    def __call__(self) -> Health:
        if (found := self._kept(KEPT)) is not None:
            return found
        # Only the first of all has nothing that was found before.
        wait = 0.0 if self._found else PATIENCE.total_seconds()
        if not (self._looking.acquire(timeout=wait) if wait else self._looking.acquire(blocking=False)):
            return self._kept(PATIENCE) or Health(Condition.AWAY)
        try:
            if (found := self._kept(KEPT)) is None:
                found = self.look()
                self._found, self._found_at = found, time.monotonic()
            return found
        finally:
            self._looking.release()

    def _kept(self, age: timedelta) -> Health | None:
        return self._found if time.monotonic() - self._found_at < age.total_seconds() else None


class HealthMiddleware:
    """Answers `/health`, `/health/live` and `/health/ready`; comes before all others."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        self.probe = Probe()
        self.paths: dict[str, Callable[[HttpRequest], HttpResponse]] = {
            "/health": self.in_words,
            "/health/live": self.live,
            "/health/ready": self.ready,
        }

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        answer = self.paths.get(request.path_info)
        if answer is None:
            return self.get_response(request)
        if request.method not in {"GET", "HEAD"}:
            return HttpResponseNotAllowed(["GET", "HEAD"])
        response = answer(request)
        response.headers["Cache-Control"] = "no-store"
        # Without it, the web server closes the connection after the answer.
        response.headers["Content-Length"] = str(len(response.content))
        # Django would log each 503.
        response._has_been_logged = True  # type: ignore[attr-defined]
        return response

    def in_words(self, request: HttpRequest) -> HttpResponse:
        """Whether this server is ready, in SimpleLogin's words."""
        if is_stopping():
            return HttpResponse("stopping", status=503, content_type="text/plain")
        if self.probe().is_ready:
            return HttpResponse("success", content_type="text/plain")
        return HttpResponse("no database", status=503, content_type="text/plain")

    def live(self, request: HttpRequest) -> HttpResponse:
        """That this process answers; nothing else is asked."""
        return JsonResponse({"status": "ok"})

    def ready(self, request: HttpRequest) -> HttpResponse:
        """Whether this server can do its work; to those whom we know, what is right and wrong.

        One that is about to stop says so to all: whoever sends it requests should send them elsewhere.
        """
        if is_stopping():
            return JsonResponse({"status": "stopping"}, status=503)
        health = self.probe()
        told = {"status": "ok" if health.is_ready else "unavailable"}
        if is_told_more(request):
            told |= {"web": "ok", "database": health.database, "mail": health.mail, "queue": health.queue}
        return JsonResponse(told, status=200 if health.is_ready else 503)


def is_told_more(request: HttpRequest) -> bool:
    """Whether the request comes from one of HEALTH_CLIENTS itself, and not through a proxy there."""
    if any(name in request.META for name in _FROM_PROXIES):
        return False
    return is_trusted(request.META.get("REMOTE_ADDR", ""), settings.HEALTH_CLIENTS)


# Octets that must be free where an SQLite database is: a write needs pages in its log first.
ROOM = 1024 * 1024


def has_room() -> bool:
    """Whether an SQLite database can grow. Of PostgreSQL's disk, nothing is known here."""
    database: Any = connections[DEFAULT_DB_ALIAS]
    if database.vendor != "sqlite" or database.is_in_memory_db():
        return True
    try:
        disk = os.statvfs(os.path.dirname(database.settings_dict["NAME"]) or ".")
    except OSError:
        return True  # The write will say what is wrong.
    return disk.f_bavail * disk.f_frsize >= ROOM
