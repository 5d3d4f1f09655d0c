"""The memory of a mail server that takes messages of 20 MB: `python -m bench.memory`.

One process over SQLite and a Maildir, a message after another, over SMTP: as they came, with reverse
addresses and signed, and encrypted. MiB of the process before the first one, and the most that it had at any
time; and the most that a process had which it started, to encrypt a large message.
"""

import argparse
import smtplib
import sqlite3
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bench import rig
from bench.mail_traffic import memory
from tests.rig.mail_process import Server, filled_database, manage

SECRET_KEY = "x" * 50
PUBLISH = """
from domains.models import Domain
from tests.rig.dkim_keys import published_keys
published_keys(Domain.objects.get())
"""
ENCRYPT = """
from bench.profile_mail import give_keys
give_keys()
"""


def letter(octets: int) -> bytes:
    """A message of so many octets, as most of them arrive."""
    header = (
        b"Received: from sender.test by mx.example.com; now\r\n"
        b"From: Bob <bob@sender.test>\r\nTo: x@example.com\r\nSubject: large\r\n\r\n"
    )
    return header + (b"x" * 76 + b"\r\n") * (octets // 78)


class Helpers(threading.Thread):
    """Watches the processes that a process starts: the most MiB that one of them had."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.threads, self.most, self.ended = Path(f"/proc/{pid}/task"), 0, threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.005):
            with suppress(OSError, ValueError):
                for thread in self.threads.iterdir():
                    for pid in map(int, (thread / "children").read_text().split()):
                        self.most = max([self.most, *memory(pid, "VmHWM")])


def measure(
    directory: Path, *, hides: bool, encrypts: bool, given: argparse.Namespace
) -> tuple[int, int, int]:
    """MiB before and at most, and of what it started."""
    database, alias = filled_database(directory)
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE aliases_alias SET hides_replies = ?", (hides,))
    connection.close()
    (directory / "run").mkdir()
    server = Server(directory / "run", database)
    server.environment["SECRET_KEY"] = SECRET_KEY
    for code in (PUBLISH, *([ENCRYPT] if encrypts else [])):
        made = manage(server.environment, "shell", "-v0", "-c", code)
        if made.returncode:
            raise RuntimeError(made.stderr)
    process = server.start()
    try:
        (before,) = memory(process.pid, "VmRSS")
        helpers = Helpers(process.pid)
        helpers.start()
        with smtplib.SMTP("127.0.0.1", server.port, timeout=120) as client:
            for octets in (1000, *[given.octets] * given.messages):
                client.sendmail("bob@sender.test", alias, letter(octets))
        helpers.ended.set()
        helpers.join()
        most = memory(process.pid, "VmHWM")[0]
    finally:
        server.end()
    return before, most, helpers.most


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=5, help="large ones (default 5)")
    parser.add_argument("--octets", type=int, default=20_000_000, help="of each (default 20000000)")
    given = parser.parse_args(arguments)
    print("| messages | MiB before | at most | what it started |\n|---|--:|--:|--:|")
    kinds = (
        ("as they came", False, False),
        ("hidden, signed", True, False),
        ("encrypted", False, True),
        ("hidden, encrypted, signed", True, True),
    )
    for name, hides, encrypts in kinds:
        with rig.temporary_directory() as directory:
            before, most, started = measure(directory, hides=hides, encrypts=encrypts, given=given)
        print(f"| {name} | {before} | {most} | {started or ''} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
