"""Where sessions are kept: in Django's own table, read in a statement that is built once."""

from typing import Any

from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.contrib.sessions.models import Session
from django.db import models
from django.utils import timezone

from core.db.compiled import CompiledQuery

_LIVE = CompiledQuery(
    lambda key, now: Session.objects.filter(session_key=key, expire_date__gt=now),
    key=models.CharField(),
    now=models.DateTimeField(),
)


class SessionStore(DatabaseStore):
    """Django's, for every request of a reader who is signed in."""

    def _get_session_from_db(self) -> Any:
        """The session's row; None, and a new key when it is saved, if there is none or its time is over."""
        # A cookie in quotes can hold NUL, of which PostgreSQL wants to hear nothing.
        if "\0" not in (self.session_key or ""):
            for session in _LIVE(key=self.session_key, now=timezone.now()):
                return session
        self._session_key = None
        return None
