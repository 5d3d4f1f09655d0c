"""The memory of all processes together."""

import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.anonmail_site.test_start import Start, ask, descendants
from tests.rig.mail_process import is_soon
from tests.rig.supervised import children, command, parts

IDLE_MAX = 250 * 1024


def kibibytes(process: int, kind: str) -> int:
    """The process's memory of this kind (proc_pid_smaps(5)): "Rss" is all, "Pss" the same where what several
    share is divided among them, and "Private_Dirty" what it has written."""
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    found = re.search(rf"^{kind}: +(\d+) kB", text, re.MULTILINE)
    assert found
    return int(found[1])


def has_kept_house(directory: Path) -> bool:
    """Whether the daily tasks have been done."""
    with closing(sqlite3.connect(directory / "var" / "anonmail.sqlite3")) as database:
        done = "SELECT 1 FROM core_tally WHERE name = 'housekeeping_success'"
        return database.execute(done).fetchone() is not None


def test_when_nothing_happens_little_memory_is_in_use(start: Start, tmp_path: Path) -> None:
    """The daily tasks have run by then; their process is gone until the next day."""
    supervisor = start.process.pid
    # Beside gunicorn with its two workers, and the mail server.
    (worker,) = (child for child in children(supervisor) if "django worker" in command(child))
    assert is_soon(lambda: has_kept_house(tmp_path), 90)
    assert is_soon(lambda: not children(worker), 60)
    assert len(descendants(supervisor)) == 5

    used = sum(kibibytes(process, "Pss") for process in {supervisor, *descendants(supervisor)})

    assert used < IDLE_MAX


def test_web_processes_share_the_site_and_inherit_nothing_that_is_open(start: Start) -> None:
    """It is loaded before they are forked, when a connection or a thread would be broken by it."""
    gunicorn = parts(start)["web"]
    workers = children(gunicorn)
    assert len(workers) == 2
    # Both have served.
    for _ in range(20):
        assert ask(start.port, "GET", "/accounts/login/")[0] == 200

    for worker in workers:
        assert kibibytes(worker, "Private_Dirty") < kibibytes(worker, "Rss") / 2

    assert re.search(r"^Threads:\s+1$", Path(f"/proc/{gunicorn}/status").read_text(), re.MULTILINE)
    opened = [os.readlink(file) for file in Path(f"/proc/{gunicorn}/fd").iterdir()]
    assert not [file for file in opened if ".sqlite3" in file]
