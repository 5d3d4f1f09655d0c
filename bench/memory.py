"""The memory of a mail server that takes messages of 20 MB: `python -m bench.memory`.

One process over SQLite and a Maildir, a message after another, over SMTP: as they came, and with reverse
addresses and signed. MiB of the process before the first one, and the most that it had at any time.
"""

import argparse
import smtplib
import sqlite3
import sys
from collections.abc import Sequence
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


def letter(octets: int) -> bytes:
    """A message of so many octets, as most of them arrive."""
    header = (
        b"Received: from sender.test by mx.example.com; now\r\n"
        b"From: Bob <bob@sender.test>\r\nTo: x@example.com\r\nSubject: large\r\n\r\n"
    )
    return header + (b"x" * 76 + b"\r\n") * (octets // 78)


def measure(directory: Path, *, hides: bool, given: argparse.Namespace) -> tuple[int, int]:
    """MiB before and at most."""
    database, alias = filled_database(directory)
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE aliases_alias SET hides_replies = ?", (hides,))
    connection.close()
    (directory / "run").mkdir()
    server = Server(directory / "run", database)
    server.environment["SECRET_KEY"] = SECRET_KEY
    made = manage(server.environment, "shell", "-v0", "-c", PUBLISH)
    if made.returncode:
        raise RuntimeError(made.stderr)
    process = server.start()
    try:
        (before,) = memory(process.pid, "VmRSS")
        with smtplib.SMTP("127.0.0.1", server.port, timeout=120) as client:
            for octets in (1000, *[given.octets] * given.messages):
                client.sendmail("bob@sender.test", alias, letter(octets))
        (most,) = memory(process.pid, "VmHWM")
    finally:
        server.end()
    return before, most


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=5, help="large ones (default 5)")
    parser.add_argument("--octets", type=int, default=20_000_000, help="of each (default 20000000)")
    given = parser.parse_args(arguments)
    print("| messages | MiB before | at most |\n|---|--:|--:|")
    for name, hides in (("as they came", False), ("hidden, signed", True)):
        with rig.temporary_directory() as directory:
            before, most = measure(directory, hides=hides, given=given)
        print(f"| {name} | {before} | {most} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
