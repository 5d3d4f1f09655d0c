"""Two machines, or two processes on one, that do the daily tasks at the same moment."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from django.db import connection

from core.db.locks import claim
from tests.conftest import missing
from tests.rig.faults import ROOT, environment, filled_cluster, filled_file
from tests.rig.postgresql import Missing

PROCESSES = 2
# An alias that ends in three days: its owner is warned by one mail.
_PREPARE = """
from datetime import timedelta
from django.utils import timezone
from aliases.models import Alias, AliasExpiry
AliasExpiry.objects.create(alias=Alias.objects.first(), expires_at=timezone.now() + timedelta(days=3))
"""
# The mail takes a second, in which the other process reads what is to be done.
_WARN = """
import sys, time
from pathlib import Path
import django
django.setup()
from django.core.mail.backends.filebased import EmailBackend
from django.core.management import call_command
send = EmailBackend.send_messages
def slowly(self, messages):
    time.sleep(1)
    return send(self, messages)
EmailBackend.send_messages = slowly
Path(sys.argv[1]).touch()
while not Path(sys.argv[2]).exists():
    time.sleep(0.01)
call_command("expire_aliases")
"""


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A filled database of the kind that this round is about, which other processes can open."""
    with ExitStack() as stack:
        if connection.vendor == "sqlite":
            yield stack.enter_context(filled_file())(tmp_path).url
            return
        try:
            copy = stack.enter_context(filled_cluster())
        except Missing as reason:
            missing(str(reason))
        yield copy().url


def test_nobody_is_warned_twice(url: str, tmp_path: Path) -> None:
    env = environment(url, tmp_path, EMAIL_URL=f"filemail:///{tmp_path}/outbox")
    subprocess.run(
        [sys.executable, "manage.py", "shell", "--no-imports", "--command", _PREPARE],
        cwd=ROOT, env=env, check=True,
    )  # fmt: skip
    flags = [tmp_path / f"ready{number}" for number in range(PROCESSES)]
    go = tmp_path / "go"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _WARN, flag, go], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True
        )
        for flag in flags
    ]
    deadline = time.monotonic() + 120
    while not all(flag.exists() for flag in flags) and time.monotonic() < deadline:
        time.sleep(0.05)
    go.touch()
    said = [process.communicate(timeout=120)[0].strip() for process in processes]

    assert sorted(said) == ["Another process is doing this.", "Disabled 0 aliases; warned of 1."]
    mails = [mail.read_text() for mail in (tmp_path / "outbox").iterdir()]
    assert sum(mail.count("\nSubject: ") for mail in mails) == 1


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_a_claim_is_one_process_alone_and_ends_with_its_block() -> None:
    with claim("chore") as first, claim("chore") as second, claim("another") as third:
        pass
    with claim("chore") as again:
        pass

    assert (first, second, third, again) == (True, False, True, True)
