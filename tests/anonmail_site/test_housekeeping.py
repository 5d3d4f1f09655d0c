"""Two machines, or two processes on one, that do the daily tasks at the same moment."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from django.db import connection

from core.db.locks import claim
from tests.conftest import missing
from tests.rig.faults import ROOT, environment, filled_cluster, filled_file
from tests.rig.mail_process import is_soon
from tests.rig.postgresql import Missing

# An alias that ends in three days: its owner is warned by one mail.
_PREPARE = """
from datetime import timedelta
from django.utils import timezone
from aliases.models import Alias, AliasExpiry
AliasExpiry.objects.create(alias=Alias.objects.first(), expires_at=timezone.now() + timedelta(days=3))
"""
# The mail goes out once the other process is through, or has read, too, what is to be done.
_WARN = """
import sys, time
from pathlib import Path
import django
django.setup()
from django.core.mail.backends.filebased import EmailBackend
from django.core.management import call_command
go, own, other = (Path(place) for place in sys.argv[1:])
def wait_for(*places):
    while not any(place.exists() for place in places):
        time.sleep(0.01)
send = EmailBackend.send_messages
def send_late(self, messages):
    (own / "sends").touch()
    wait_for(other / "sends", other / "ended")
    return send(self, messages)
EmailBackend.send_messages = send_late
(own / "ready").touch()
wait_for(go)
call_command("expire_aliases")
(own / "ended").touch()
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
    one, other, go = tmp_path / "one", tmp_path / "other", tmp_path / "go"
    one.mkdir()
    other.mkdir()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _WARN, go, *places], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True
        )
        for places in ((one, other), (other, one))
    ]
    assert is_soon(lambda: (one / "ready").exists() and (other / "ready").exists(), 120)
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
