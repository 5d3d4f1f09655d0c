"""What a message costs the mail server's process: CPU time, and function calls by part.

`python -m bench.profile_mail [--door lmtp|milter|smtp] [--database sqlite|postgresql]` serves one door in
this process over a database filled as for `bench.mail`. Another process sends as Postfix does, and smtp-sink
takes what goes on. CPU time is the least of many turns: of this process alone, so without PostgreSQL's.

Function calls are Python's and C's together, of all threads. With one session they hardly change from run to
run.
"""

import argparse
import asyncio
import cProfile
import os
import statistics
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from bench import rig
from bench.mail_load import DOORS
from tests.rig.ports import free_port

FAR = "far.test"
NUMBERED = 1000
WARM_UP = 200
# What the other end, and the disk, are asked for: each such call of a message is a system call.
SYSTEM_CALLS = ("send", "recv", "poll", "commit")

Counts = Counter[tuple[str, str]]  # by part, and function


def part_of(path: str) -> str:
    """The part of the mail server, or the library, that a file belongs to."""
    parts = Path(path).parts
    if path.startswith(str(rig.ROOT)) and ".venv" not in parts:
        return "/".join(Path(path).relative_to(rig.ROOT).parts[:2])
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1].partition("_binary")[0]
    return parts[-2] if parts[-2:-1] in (("asyncio",), ("logging",)) else "standard library"


class CallCounter:
    """Counts the calls of this thread, and of those that are started after it."""

    def __init__(self) -> None:
        self._profiles: list[cProfile.Profile] = []
        threading.setprofile(self._enter)
        self._enter()

    def _enter(self, *_event: object) -> None:
        # It takes the place of the function that threading has set.
        profile = cProfile.Profile()
        self._profiles.append(profile)
        profile.enable()

    def counts(self) -> Counts:
        """The calls so far, without those of this function: those of C functions belong to whoever calls
        them."""
        own, *_others = self._profiles
        own.disable()
        found: Counts = Counter()
        for entry in (entry for profile in self._profiles for entry in profile.getstats()):
            code: Any = entry.code
            if isinstance(code, str):
                continue
            part = part_of(code.co_filename)
            found[part, f"{Path(code.co_filename).stem}.{code.co_qualname}"] += entry.callcount
            for called in entry.calls or ():
                if isinstance(called.code, str):
                    found[part, called.code] += called.callcount
        own.enable()
        return found

    def close(self) -> None:
        threading.setprofile(None)  # type: ignore[arg-type]
        self._profiles[0].disable()


@contextmanager
def sink() -> Iterator[int]:
    """The port of an SMTP server that throws everything away."""
    port = free_port()
    command = ["smtp-sink", "-u", "postfix", f"127.0.0.1:{port}", "512"]
    server = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        rig.wait_for(port, server)
        yield port
    finally:
        rig.stop(server)


class Load:
    """The process that sends."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin
        assert process.stdout
        self._input, self._output = process.stdin, process.stdout

    async def send(self, messages: int) -> None:
        self._input.write(f"{messages}\n".encode())
        if await self._output.readline() != b"sent\n":
            raise RuntimeError("not all messages were accepted")


@asynccontextmanager
async def served(door: str, sessions: int, sink_port: int, *, is_bare: bool) -> AsyncIterator[Load]:
    """A door that is open in this process, and what sends to it. `is_bare`: nothing is behind the door."""
    from django.conf import settings

    from bench.bare_doors import without_rules
    from core.listening import endpoint, listening_socket
    from mail.delivery.next_hop import SmtpHop
    from mail.server.doors import Doors

    place = f"unix:{settings.VAR_DIR}/{door}"
    doors = Doors({door: listening_socket(endpoint(place))}, SmtpHop("127.0.0.1", sink_port))
    if is_bare:
        without_rules(doors)
    await doors.open()
    command = [sys.executable, "-m", "bench.mail_load", door, place, str(sessions)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = await asyncio.create_subprocess_exec(*command, cwd=rig.ROOT, **pipes)
    load = Load(process)
    try:
        await load.send(WARM_UP)
        yield load
    finally:
        process.terminate()
        await process.wait()
        await doors.close()


def cpu_of_threads() -> dict[str, float]:
    """The CPU milliseconds of each thread so far, by its name (proc(5), schedstat: nanoseconds first)."""
    return {
        thread.name: int(Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text().split()[0]) / 1e6
        for thread in threading.enumerate()
    }


async def cpu(door: str, sessions: int, sink_port: int, given: argparse.Namespace) -> list[dict[str, float]]:
    """CPU milliseconds a message, by thread, of each turn."""
    turns = []
    async with served(door, sessions, sink_port, is_bare=given.bare) as load:
        for _ in range(given.turns):
            before = cpu_of_threads()
            await load.send(given.messages)
            after = cpu_of_threads()
            used = {name: (after[name] - before.get(name, 0)) / given.messages for name in after}
            turns.append({name: spent for name, spent in used.items() if spent >= 0.001})
    return turns


async def calls(door: str, sessions: int, sink_port: int, given: argparse.Namespace) -> Counts:
    """The calls of so many messages."""
    counter = CallCounter()
    try:
        async with served(door, sessions, sink_port, is_bare=given.bare) as load:
            before = counter.counts()
            await load.send(given.messages)
            return counter.counts() - before
    finally:
        counter.close()


def table(counted: Counts, messages: int, functions: int) -> str:
    """The calls of a message, by part; then the functions that are called most."""
    by_part: Counter[str] = Counter()
    for (part, _function), number in counted.items():
        by_part[part] += number
    lines = ["| part | calls |", "|---|--:|"]
    lines += [f"| {part} | {number / messages:.1f} |" for part, number in by_part.most_common(20)]
    lines.append(f"| all | {counted.total() / messages:.1f} |")
    for word in SYSTEM_CALLS:
        number = sum(
            number for (_part, name), number in counted.items() if name.startswith(f"<method '{word}'")
        )
        lines.append(f"{word}: {number / messages:.2f}")
    lines += [
        f"{number / messages:7.2f} {part}: {function}"
        for (part, function), number in counted.most_common(functions)
    ]
    return "\n".join(lines)


def give_keys() -> None:
    """Have all that is forwarded encrypted."""
    from allauth.account.models import EmailAddress

    from mail.encryption.certificates import read
    from mail.models import DestinationKey
    from tests.rig.openpgp import PUBLIC_KEY

    key = read(PUBLIC_KEY.encode())
    DestinationKey.objects.bulk_create(
        DestinationKey(destination=address, fingerprint=key.fingerprint, certificate=key.octets)
        for address in EmailAddress.objects.all()
    )


def report(given: argparse.Namespace) -> None:
    os.environ |= {"MAIL_UNKNOWN_PER_CLIENT": "0", "MAIL_UNKNOWN_PER_DAY": "0", "MAIL_POSTFIX_DIRECTORY": ""}
    import django

    django.setup()
    from django.conf import settings

    from mail.delivery.resolve import our_domains
    from mail.server.processes import configure_database, read_little_at_once

    read_little_at_once()
    configure_database()
    our_domains.keep(settings.VAR_DIR / "our_domains.json")
    if given.encrypted:
        give_keys()
    with sink() as sink_port:
        for door in given.door or DOORS:
            for sessions in given.sessions:
                turns = asyncio.run(cpu(door, sessions, sink_port, given))
                totals = sorted(sum(turn.values()) for turn in turns)
                least = min(turns, key=lambda turn: sum(turn.values()))
                by_thread = ", ".join(f"{name} {spent:.3f}" for name, spent in least.items())
                counted = asyncio.run(calls(door, sessions, sink_port, given))
                print(f"\n{given.database}, {door}, {sessions} sessions: CPU ms a message: ", end="")
                print(f"least {totals[0]:.3f} ({by_thread}), median {statistics.median(totals):.3f}")
                print(table(counted, given.messages, given.functions), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--database", choices=rig.DATABASES, default="postgresql")
    parser.add_argument("--door", choices=list(DOORS), action="append", help="all of them unless given")
    parser.add_argument(
        "--sessions", type=int, nargs="+", default=[1, 20], help="at once (default 1, then 20)"
    )
    parser.add_argument("--aliases", type=int, default=20_000, help="present before (default 20000)")
    parser.add_argument("--messages", type=int, default=500, help="of a turn (default 500)")
    parser.add_argument("--turns", type=int, default=8, help="turns (default 8)")
    parser.add_argument("--functions", type=int, default=0, help="functions to list")
    parser.add_argument("--bare", action="store_true", help="the doors alone, without Anonmail's rules")
    parser.add_argument("--encrypted", action="store_true", help="each destination has an OpenPGP key")
    given = parser.parse_args(arguments)
    filling = ("--far", FAR, "--numbered", str(NUMBERED))
    return rig.measured_here(given.database, given.aliases, lambda _keys: report(given), *filling)


if __name__ == "__main__":
    sys.exit(main())
