"""What the forms that a stranger may fill in tell by their time.

`python -m bench.strangers [n]` asks each form n times about somebody and n times about nobody, one after the
other, and prints both medians and how often one probe tells: the share of single answers that the best
threshold sorts rightly. 50 % is a coin. Half of the answers choose the threshold, the other half are sorted.
What is timed is the processor time of the thread that answers, and 30 ms for each mail that it sends
itself: less noise than a clock on the wall has, so it tells more. Passwords are hashed with a smaller Argon2
for the same reason. The database is SQLite in a temporary directory.
"""

import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address
from itertools import count
from typing import Any

from bench.quiet import waited

PASSWORD = "a-long-passphrase"  # noqa: S105
WRONG = "another-long-passphrase"

Probe = Callable[[], Any]


def accuracy(some: Sequence[float], none: Sequence[float]) -> float:
    """How many of single answers one threshold sorts rightly, at best."""

    def rightly(threshold: float, sign: int, part: slice) -> float:
        a, b = some[part], none[part]
        right = sum(sign * x > sign * threshold for x in a) + sum(sign * x <= sign * threshold for x in b)
        return right / (len(a) + len(b))

    learn, check = slice(0, None, 2), slice(1, None, 2)
    candidates = sorted([*some[learn], *none[learn]])
    best = max(
        ((threshold, sign) for threshold in candidates for sign in (1, -1)), key=lambda c: rightly(*c, learn)
    )
    return rightly(*best, check)


def clock() -> float:
    """Seconds of work of this thread, and of waiting for mail servers."""
    return time.thread_time() + waited.seconds


def measure(some: Probe, none: Probe, number: int) -> tuple[list[float], list[float]]:
    """Seconds of each answer, in turns of random order."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(number + 10):
        for which in random.sample((0, 1), 2):
            begin = clock()
            (some, none)[which]()
            took = clock() - begin
            if turn >= 10:
                times[which].append(took)
    return times


def prepare(directory: str) -> None:
    """Django, with an empty database."""
    os.environ.update(
        ENV_FILE="",
        VAR_DIR=directory,
        SECRET_KEY="bench" * 12,
        SIGNUP_OPEN="true",
        ALLOWED_HOSTS="testserver",
        DJANGO_SETTINGS_MODULE="anonmail_site.settings",
        LOG_LEVEL="CRITICAL",
    )
    import django
    from django.conf import settings

    settings.EMAIL_BACKEND = "bench.quiet.SlowMail"
    settings.PASSWORD_HASHERS = ["bench.quiet.SmallArgon2"]
    # Only the time is looked at.
    settings.ACCOUNT_RATE_LIMITS = False
    settings.STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def main(number: int) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as directory:
        prepare(directory)
        from django.test import Client

        from accounts.models import User
        from aliases.issuing import issue
        from domains.models import Domain

        Domain.objects.create(name="example.com", anonmail_enabled=True)
        alice = User.objects.create_user("alice@example.com", PASSWORD)
        User.objects.create_user("gone@example.com", PASSWORD, is_active=False)
        User.objects.create_user("fresh@example.com")
        alias = issue(owner=alice).address
        numbers = count()

        def post(path: str, data: dict[str, str], **kwargs: Any) -> Any:
            # Each from a network of its own: limits do not come in between.
            address = IPv6Address((0x2001 << 112) + (next(numbers) << 80) + 1)
            return Client(REMOTE_ADDR=str(address)).post(path, data, **kwargs)

        def nobody() -> str:
            return f"u{next(numbers)}@example.org"

        def page(email: str) -> Any:
            return post("/accounts/login/", {"login": email, "password": WRONG})

        def api(email: str) -> Any:
            return post(
                "/api/auth/login", {"email": email, "password": WRONG}, content_type="application/json"
            )

        def reset(email: str) -> Any:
            return post("/accounts/password/reset/", {"email": email})

        def sign_up(email: str) -> Any:
            data = {"email": email, "password1": PASSWORD, "password2": PASSWORD}
            return post("/accounts/signup/", data)

        def key(number: str) -> Any:
            address = IPv6Address((0x2001 << 112) + (next(numbers) << 80) + 1)
            return Client(REMOTE_ADDR=str(address)).get(
                f"/accounts/password/reset/key/{number}-d1jswr-0123456789abcdef0123456789abcdef/"
            )

        table: list[tuple[str, Probe, Probe]] = [
            ("sign-in page: an account, none", lambda: page(alice.email), lambda: page(nobody())),
            ("sign-in page: inactive, none", lambda: page("gone@example.com"), lambda: page(nobody())),
            (
                "sign-in page: no password yet, none",
                lambda: page("fresh@example.com"),
                lambda: page(nobody()),
            ),
            ("POST /api/auth/login: an account, none", lambda: api(alice.email), lambda: api(nobody())),
            ("new password: an account, none", lambda: reset(alice.email), lambda: reset(nobody())),
            ("new password: inactive, none", lambda: reset("gone@example.com"), lambda: reset(nobody())),
            ("sign-up: an account, none", lambda: sign_up(alice.email), lambda: sign_up(nobody())),
            ("sign-up: an alias, none", lambda: sign_up(alias), lambda: sign_up(nobody())),
            ("wrong mailed key: an account, none", lambda: key("1"), lambda: key("zz")),
            ("none, none (what chance does)", lambda: page(nobody()), lambda: page(nobody())),
        ]
        print(f"| n = {number} each | ms | ms | one probe tells |\n|---|---:|---:|---:|")
        for name, some, none in table:
            first, second = measure(some, none, number)
            medians = [f"{statistics.median(times) * 1000:.1f}" for times in (first, second)]
            print(f"| {name} | {' | '.join(medians)} | {accuracy(first, second):.0%} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
