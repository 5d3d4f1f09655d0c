"""The memory of a mail server that takes messages of 20 MB: `python -m bench.memory`.

One process over SQLite or PostgreSQL, and a Maildir, a message after another, over SMTP: as they came, with
reverse addresses and signed, and encrypted. MiB of the process before the first one, and the most that it had
at any time; and the most that a process had which it started, to encrypt a large message.
"""

import argparse
import smtplib
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bench import rig
from bench.mail_traffic import memory
from tests.rig.mail_process import Server, filled_database, manage

SECRET_KEY = "x" * 50
PREPARE = """
from aliases.models import Alias
from domains.models import Domain
from tests.rig.dkim_keys import published_keys
published_keys(Domain.objects.get())
Alias.objects.update(hides_replies={hides})
"""
ENCRYPT = """
from bench.profile_mail import give_keys
give_keys()
"""
# The messages that are measured, each in a database of its own: whether they are hidden, and encrypted.
KINDS = {
    "plain": ("as they came", False, False),
    "hidden": ("hidden, signed", True, False),
    "encrypted": ("encrypted", False, True),
    "both": ("hidden, encrypted, signed", True, True),
}


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
    directory: Path, url: str, *, hides: bool, encrypts: bool, given: argparse.Namespace
) -> tuple[int, int, int]:
    """MiB before and at most, and of what it started. `url`: an empty database of PostgreSQL's, or "" for
    SQLite."""
    database, alias = filled_database(directory, url)
    (directory / "run").mkdir()
    server = Server(directory / "run", url or database)
    server.environment["SECRET_KEY"] = SECRET_KEY
    for code in (PREPARE.format(hides=hides), *([ENCRYPT] if encrypts else [])):
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
    parser.add_argument("--database", choices=rig.DATABASES, action="append", help="both unless given")
    given = parser.parse_args(arguments)
    print("| database | messages | MiB before | at most | what it started |\n|---|---|--:|--:|--:|")
    for kind in given.database or rig.DATABASES:
        with rig.temporary_directory() as directory, rig.databases(kind, directory, *KINDS) as urls:
            for name, (messages, hides, encrypts) in KINDS.items():
                (place := directory / name).mkdir()
                url = urls[name] if kind == "postgresql" else ""
                before, most, started = measure(place, url, hides=hides, encrypts=encrypts, given=given)
                print(f"| {kind} | {messages} | {before} | {most} | {started or ''} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
