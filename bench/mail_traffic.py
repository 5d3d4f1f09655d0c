"""What is sent through the mail path, where it ends, and the CPU time that all of it took."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg

from bench import rig
from bench.cpu_time import children
from bench.fill import CORRESPONDENT

DOMAIN = "d0.example.com"
# Its aliases hide their owners.
HIDING_DOMAIN = "d1.example.com"
MESSAGE_OCTETS = 4096
SESSIONS = 20
# How long a wait for the last message may take, in seconds.
PATIENCE = 600
_WRITERS = """
    SELECT email, reverse_address FROM contacts_contact
    JOIN aliases_aliasdestination AS destination USING (alias_id)
    JOIN account_emailaddress AS address ON address.id = destination.address_id
"""


def memory(root: int, what: str) -> list[int]:
    """`VmRSS` or `VmHWM` (the most so far) of a mail server's processes, in MiB."""
    found = []
    for pid in (root, *children(root)):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{what}:"):
                found.append(int(line.split()[1]) // 1024)
    return found


def source(
    port: int, messages: int, octets: int = MESSAGE_OCTETS, sessions: int = SESSIONS, domain: str = DOMAIN
) -> float:
    """Send so many messages, each to another alias, over kept connections; the CPU seconds it took here."""
    command = ["smtp-source", "-d", "-s", str(sessions), "-m", str(messages), "-l", str(octets), "-N"]
    return timed([*command, "-f", CORRESPONDENT, "-t", f"n@{domain}", f"127.0.0.1:{port}"])


def replying(writers: Sequence[tuple[str, str]], port: int, messages: int) -> float:
    """Send so many replies, each to another contact in turn; the CPU seconds it took here."""
    command = [sys.executable, "-m", "bench.replies", str(port), str(messages)]
    return timed(command, json.dumps(writers))


def timed(command: Sequence[str], text: str = "") -> float:
    """Run a command with this standard input; the CPU seconds that it took."""
    before = os.times()
    subprocess.run(
        command, check=True, timeout=PATIENCE, cwd=rig.ROOT, input=text, text=True, stdout=subprocess.DEVNULL
    )
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


@contextmanager
def sink(port: int) -> Iterator[int]:
    """The process id of Postfix's smtp-sink, which takes everything and throws it away."""
    command = ["smtp-sink", "-u", "postfix", f"127.0.0.1:{port}", "512"]
    server = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        rig.wait_for(port, server)
        yield server.pid
    finally:
        rig.stop(server)


def writers_of(url: str) -> list[tuple[str, str]]:
    """The owner's address and the reverse address of each contact."""
    with psycopg.connect(url) as connection:
        return connection.execute(_WRITERS).fetchall()
