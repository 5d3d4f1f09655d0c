"""A mail server and a hash for `bench.strangers`: both take the same time at each call."""

import threading
from collections.abc import Sequence

from django.contrib.auth.hashers import Argon2PasswordHasher
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.message import EmailMessage

MAIL_SECONDS = 0.03


class Waited(threading.local):
    """How long this thread would have waited for mail servers."""

    seconds = 0.0


waited = Waited()


class SlowMail(BaseEmailBackend):
    """Takes each message after MAIL_SECONDS, and forgets it."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        waited.seconds += MAIL_SECONDS * len(email_messages)
        return len(email_messages)


class SmallArgon2(Argon2PasswordHasher):
    """Takes a few milliseconds, so that its noise covers little."""

    time_cost, memory_cost, parallelism = 1, 8192, 1
