"""Messages through Postfix and Anonmail, beside the same Postfix with a static alias file: rate and CPU.

smtp-source sends, smtp-sink takes; PostgreSQL waits for the disk at each commit. Every design is ready
all the time, and they get bursts of messages in turn, so that a noisy machine hurts all alike. The ratio
of a burst is that to the static Postfix's burst of the same turn. CPU time is what the processes of each
component used in a burst, those that have ended included.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from bench import rig
from bench.cpu import children
from bench.create import RESULTS, machine, say
from bench.mail_traffic import (
    DOMAIN,
    HIDING_DOMAIN,
    MESSAGE_OCTETS,
    PATIENCE,
    SESSIONS,
    cpu_of_tree,
    replying,
    sink,
    source,
    writers_of,
)
from bench.paced import ALIASES
from bench.replies import AUTHSERV_ID
from mail.server.listening import connect, endpoint
from tests.rig import mta
from tests.rig.mail_process import is_soon
from tests.rig.mta import Ports, Postfix
from tests.rig.postgresql import Missing

USERS = 200
FAR = "far.test"
LARGE_OCTETS, LARGE_MESSAGES = 20_000_000, 5
# The load beside which latencies are measured, as a part of what the design carries, and for how long.
PART, SECONDS = 0.8, 10
POLICY_PAUSE = 0.05  # seconds between two questions beside the load
COMPONENTS = ("postfix", "python", "postgresql", "load")
WAITS = ("rcpt_ms", "policy_ms")


@dataclass
class Bench:
    """What every design stands on."""

    directory: Path
    env: dict[str, str]
    messages: int
    processes: int
    postmaster: int
    # Who may write to which reverse address
    writers: list[tuple[str, str]]


@dataclass
class Design:
    """One way of mail through this machine, ready for bursts."""

    port: int
    roots: dict[str, int]
    postfix: Postfix | None = None
    policy: str = ""
    # Sends so many messages to the port; the CPU seconds that took. `domain`: of the aliases that get them.
    send: Callable[[int, int], float] = source
    domain: str = DOMAIN
    bursts: list[dict[str, Any]] = field(default_factory=list)

    def burst(self, messages: int) -> dict[str, Any]:
        """Messages per second, from the first one sent until the queue is empty, and CPU ms a message."""
        before = self._cpu()
        began = time.perf_counter()
        sent = self.send(self.port, messages)
        self._wait_until_idle()
        seconds = time.perf_counter() - began
        used = {name: after - before[name] for name, after in self._cpu().items()}
        used["load"] += sent
        cpu = {name: round(used.get(name, 0.0) / messages * 1000, 3) for name in COMPONENTS}
        return {"rate": messages / seconds, "cpu_ms": cpu | {"total": round(sum(cpu.values()), 3)}}

    def large_messages(self) -> None:
        """A few messages of 20 MB, one after another."""
        source(self.port, LARGE_MESSAGES, LARGE_OCTETS, 1, self.domain or DOMAIN)
        self._wait_until_idle()

    def _cpu(self) -> dict[str, float]:
        return {name: cpu_of_tree(root) for name, root in self.roots.items()}

    def _wait_until_idle(self) -> None:
        if self.postfix is None:
            return
        queue = self.postfix.directory / "queue"
        deadline = time.monotonic() + PATIENCE
        while any(
            files
            for name in ("maildrop", "incoming", "active", "deferred")
            for _path, _folders, files in os.walk(queue / name)
        ):
            if time.monotonic() > deadline:
                raise RuntimeError("the queue does not get empty")
            time.sleep(0.01)


@contextmanager
def mail_server(bench: Bench, ports: Ports, **more: str) -> Iterator[int]:
    """The process id of a running `manage.py mailserver`."""
    env = {
        **bench.env,
        **{name: str(value) for name, value in ports.settings().items()},
        "MAIL_PROCESSES": str(bench.processes),
        "MAIL_UNKNOWN_PER_CLIENT": "0",
        "MAIL_UNKNOWN_PER_DAY": "0",
        "MAIL_AUTHSERV_IDS": AUTHSERV_ID,
        "REPLIES_PER_DAY": "1000000",
        "CONTACTS_PER_DAY": "1000000",
        **more,
    }
    command = [sys.executable, "manage.py", "mailserver"]
    server = subprocess.Popen(command, cwd=rig.ROOT, env=env, start_new_session=True)
    try:
        rig.wait_for(ports.door, server)
        yield server.pid
    finally:
        rig.stop(server)


def with_postfix(
    bench: Bench, stack: ExitStack, variant: Sequence[str], more: Mapping[str, str], hop: str | None
) -> Design:
    """A Postfix that `postfix_config` has configured, and its far end. Anonmail's next hop is `hop`, or the
    re-injection if that is empty; None for no Anonmail."""
    directory = stack.enter_context(mta.directory())
    ports = Ports.free(directory / "queue")
    written = directory / "written"
    command = ["manage.py", "postfix_config", "fresh", "--directory", str(written)]
    command += ["--reinjection", f"127.0.0.1:{ports.reinjection}", *variant]
    rig.run(command, bench.env | {name: str(value) for name, value in ports.settings().items()})
    main_cf, master_cf = ((written / name).read_text() for name in ("main.cf", "master.cf"))
    # As chrooted services see it: `postfix_config` knows only the usual queue directory.
    main_cf = main_cf.replace(f"unix:{directory / 'queue'}/", "unix:")
    mta.install(directory, main_cf, master_cf, ports, more, {})
    roots = {"load": stack.enter_context(sink(ports.sink))}
    if hop is not None:
        roots["postgresql"] = bench.postmaster
        settings = {"MAIL_CONFIG": str(directory)}
        settings |= {"MAIL_NEXT_HOP": hop.format(sink=ports.sink)} if hop else {}
        roots["python"] = stack.enter_context(mail_server(bench, ports, **settings))
        if not is_soon((ports.shared / "domains").exists):
            raise RuntimeError("the mail server wrote no table of domains")
    running = stack.enter_context(mta.started(directory, ports))
    roots["postfix"] = int((directory / "queue/pid/master.pid").read_text())
    policy = "" if hop is None else str(ports.settings()["MAIL_POLICY_LISTEN"])
    return Design(ports.smtp, roots, running, policy)


def static(bench: Bench, stack: ExitStack) -> Design:
    """The same Postfix with all aliases in a file: one queue pass, no question to anybody."""
    aliases = bench.directory / "static"
    with aliases.open("w") as file:
        for number in range(int(bench.env["BENCH_ALIASES"])):
            file.write(f"{number + 1}n@{DOMAIN} user{number % USERS}@{FAR}\n")
    # A new machine has no main.cf, without which postmap does nothing.
    (bench.directory / "main.cf").touch()
    configuration = {**os.environ, "MAIL_CONFIG": str(bench.directory)}
    subprocess.run(["postmap", f"hash:{aliases}"], check=True, env=configuration)
    bench.directory.chmod(0o755)
    more = {
        "relay_domains": "",
        "virtual_alias_domains": DOMAIN,
        "virtual_alias_maps": f"hash:{aliases}",
        "smtpd_recipient_restrictions": "reject_non_fqdn_recipient",
        "relay_transport": "relay",
    }
    return with_postfix(bench, stack, [], more, None)


def alone(bench: Bench, stack: ExitStack) -> Design:
    """The mail server without Postfix: SMTP in, SMTP out."""
    ports = Ports.free(stack.enter_context(mta.directory()) / "queue")
    roots = {"load": stack.enter_context(sink(ports.sink)), "postgresql": bench.postmaster}
    settings = {"MAIL_NEXT_HOP": f"smtp://127.0.0.1:{ports.sink}", "MAIL_POSTFIX_DIRECTORY": ""}
    roots["python"] = stack.enter_context(mail_server(bench, ports, **settings))
    return Design(ports.door, roots)


def reinjecting(bench: Bench, stack: ExitStack) -> Design:
    """Anonmail behind Postfix's queue, to which it hands everything back."""
    return with_postfix(bench, stack, [], {}, "")


def hiding(design: Design) -> Design:
    """The same for aliases that hide their owners: with reverse addresses, and signed."""
    return replace(design, send=partial(source, domain=HIDING_DOMAIN), domain=HIDING_DOMAIN)


def with_replies(bench: Bench, design: Design) -> Design:
    """The same for what their owners write: cleaned, and signed."""
    return replace(design, send=partial(replying, bench.writers), domain="")


STATIC = "static file"
DESIGNS: dict[str, Any] = {
    STATIC: static,
    "LMTP, re-injection": reinjecting,
    "the same, hide me": lambda bench, stack: hiding(reinjecting(bench, stack)),
    "the same, replies": lambda bench, stack: with_replies(bench, reinjecting(bench, stack)),
    "LMTP, smarthost": lambda bench, stack: with_postfix(bench, stack, [], {}, "smtp://127.0.0.1:{sink}"),
    "milter": lambda bench, stack: with_postfix(bench, stack, ["--milter"], {}, ""),
    "mail server alone": alone,
    "alone, hide me": lambda bench, stack: hiding(alone(bench, stack)),
    "alone, replies": lambda bench, stack: with_replies(bench, alone(bench, stack)),
}


def memory(root: int, what: str) -> list[int]:
    """`VmRSS` or `VmHWM` (the most so far) of a mail server's processes, in MiB."""
    found = []
    for pid in (root, *children(root)):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{what}:"):
                found.append(int(line.split()[1]) // 1024)
    return found


@contextmanager
def asking(place: str, domain: str) -> Iterator[list[float]]:
    """Ask the policy now and then during the block; the latencies in seconds."""
    latencies: list[float] = []
    over = threading.Event()

    def go_on() -> None:
        with connect(endpoint(place), 10) as connection:
            stream = connection.makefile("rwb")
            while not over.wait(POLICY_PAUSE):
                latencies.append(ask(stream, len(latencies), domain))

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield latencies
    finally:
        over.set()
        thread.join()


def ask(stream: Any, number: int, domain: str) -> float:
    """Ask the policy about one alias; the seconds until the answer."""
    recipient = f"{number % ALIASES + 1}n@{domain}"
    began = time.perf_counter()
    question = f"request=smtpd_access_policy\nprotocol_state=RCPT\nsender=e@s.test\nrecipient={recipient}\n\n"
    stream.write(question.encode())
    stream.flush()
    if stream.readline() != b"action=DUNNO\n" or stream.readline() != b"\n":
        raise RuntimeError("the policy did not say DUNNO")
    return time.perf_counter() - began


def latencies(design: Design, rate: float) -> dict[str, Any]:
    """How long answers take beside so many messages a second: Postfix's to RCPT, and the policy's.

    Not measured beside replies.
    """
    if not design.domain:
        return {}
    stream = [str(design.port), f"{rate:.1f}", str(SECONDS), design.domain, str(MESSAGE_OCTETS)]
    command = ["-m", "bench.paced", *stream]
    if not design.policy:
        return {"rcpt_ms": percentiles(json.loads(rig.run(command, dict(os.environ))))}
    with asking(design.policy, design.domain) as policy:
        rcpt = json.loads(rig.run(command, dict(os.environ)))
    return {"rcpt_ms": percentiles(rcpt), "policy_ms": percentiles(policy)}


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """The median and the 99th percentile, in milliseconds."""
    cuts = statistics.quantiles(seconds, n=100)
    return {"p50": round(cuts[49] * 1000, 2), "p99": round(cuts[98] * 1000, 2)}


def measure(bench: Bench, given: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of the table."""
    with ExitStack() as stack:
        chosen = {name: make for name, make in DESIGNS.items() if name == STATIC or given.only in name}
        designs: dict[str, Design] = {}
        for name, make in chosen.items():
            say(f"preparing: {name}")
            designs[name] = make(bench, stack)
            designs[name].burst(max(SESSIONS, bench.messages // 10))
        for number in range(given.rounds):
            say(f"round {number + 1} of {given.rounds}")
            for design in designs.values():
                design.bursts.append(design.burst(bench.messages))
            floor = designs[STATIC].bursts[-1]["rate"]
            for design in designs.values():
                design.bursts[-1]["ratio"] = design.bursts[-1]["rate"] / floor
        rows = []
        for name, design in designs.items():
            say(f"latencies and memory: {name}")
            row: dict[str, Any] = {"design": name, "bursts": design.bursts}
            rate = statistics.median(burst["rate"] for burst in design.bursts)
            row |= latencies(design, rate * PART)
            if server := design.roots.get("python"):
                row["memory_mib"] = memory(server, "VmRSS")
                design.large_messages()
                row["memory_of_large_mib"] = memory(server, "VmHWM")
            rows.append(row)
        return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table: medians of the bursts."""
    lines = [
        "| design | per second | of static | spread | Postfix, CPU ms | Python | PostgreSQL | load | total"
        " | RCPT p50, ms | p99 | policy p50 | p99 | MiB | MiB, 20 MB |",
        "|---|" + "--:|" * 14,
    ]
    for row in rows:
        bursts = row["bursts"]
        ratios = sorted(burst["ratio"] for burst in bursts)
        cpu = [
            statistics.median(burst["cpu_ms"][name] for burst in bursts) for name in (*COMPONENTS, "total")
        ]
        waits = [f"{row[of][cut]:.1f}" if of in row else "" for of in WAITS for cut in ("p50", "p99")]
        used = ["+".join(map(str, row.get(name, []))) for name in ("memory_mib", "memory_of_large_mib")]
        cells = [
            row["design"],
            f"{statistics.median(burst['rate'] for burst in bursts):.0f}",
            f"{statistics.median(ratios):.2f}",
            f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
            *(f"{each:.2f}" if each else "" for each in cpu),
            *waits,
            *used,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=2000, help="of a burst (default 2000)")
    parser.add_argument("--rounds", type=int, default=7, help="bursts of each design (default 7)")
    parser.add_argument("--aliases", type=int, default=1_000_000, help="present before (default 1000000)")
    parser.add_argument("--processes", type=int, default=1, help="of a mail server (default 1)")
    parser.add_argument("--only", default="", help="designs whose name has this in it")
    given = parser.parse_args(arguments)
    RESULTS.mkdir(exist_ok=True)
    started = datetime.now(UTC)
    rig.stop_on_signals()
    try:
        with (
            rig.alone(RESULTS / ".lock"),
            rig.temporary_directory() as directory,
            rig.databases("postgresql", directory, "ours") as urls,
        ):
            say(f"filling with {given.aliases:,} aliases")
            numbered = str(min(given.aliases, 50_000))
            more = ["--far", FAR, "--numbered", numbered, "--hiding", str(max(given.messages, ALIASES))]
            env, _keys = rig.filled(directory, urls["ours"], given.aliases, USERS, *more)
            env |= {"BENCH_ALIASES": str(given.aliases), "MAIL_POSTMASTER": f"boss@{FAR}"}
            (postmaster,) = (pid for pid in children(os.getpid()) if name_of(pid) == "postgres")
            writers = writers_of(urls["ours"])
            bench = Bench(directory, env, given.messages, given.processes, postmaster, writers)
            rows = measure(bench, given)
    except BlockingIOError:
        say("Another measurement runs in this checkout: two at once measure each other.")
        return 1
    except (Missing, mta.Missing) as reason:
        print(f"SKIPPED: mail: {reason}")
        return 1 if os.environ.get("CI") == "true" else 0
    except KeyboardInterrupt:
        say("Stopped.")
        return 130
    print(table(rows))
    path = RESULTS / f"mail-{started:%Y%m%dT%H%M%SZ}.json"
    result = {"machine": machine(), "arguments": vars(given), "rows": rows}
    path.write_text(json.dumps(result, indent=2) + "\n")
    say(f"Written to {path.relative_to(rig.ROOT)}")
    return 0


def name_of(pid: int) -> str:
    """The name of a process's program."""
    return Path(f"/proc/{pid}/comm").read_text().strip()


if __name__ == "__main__":
    sys.exit(main())
