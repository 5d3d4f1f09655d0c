"""Messages per second through Postfix and Anonmail, beside the same Postfix with a static alias file.

smtp-source sends, smtp-sink takes; PostgreSQL waits for the disk at each commit. Everything runs on
this machine: the ratio to the static Postfix of the same run is the figure to look at.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import rig
from bench.create import RESULTS, machine, say
from mail.server.listening import connect, endpoint
from tests.rig import mta
from tests.rig.mta import Ports, Postfix
from tests.rig.postgresql import Missing

USERS = 200
DOMAIN = "d0.example.com"
FAR = "far.test"
MESSAGE_OCTETS = 4096
SESSIONS = 20
# How long a wait for the last message may take, in seconds.
PATIENCE = 600
POLICY_PAUSE = 0.05  # seconds between two questions beside the load
POLICY_SECONDS = 3.0


@dataclass
class Bench:
    """What every measurement uses."""

    directory: Path
    env: dict[str, str]
    messages: int
    number: int = 0


def source(port: int, messages: int) -> float:
    """Send so many messages, each to another alias, over kept connections; the seconds it took."""
    command = ["smtp-source", "-d", "-s", str(SESSIONS), "-m", str(messages), "-l", str(MESSAGE_OCTETS), "-N"]
    command += ["-f", "eve@sender.test", "-t", f"n@{DOMAIN}", f"127.0.0.1:{port}"]
    began = time.perf_counter()
    subprocess.run(command, check=True, timeout=PATIENCE, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


@contextmanager
def sink(port: int) -> Iterator[None]:
    """Postfix's smtp-sink, which takes everything and throws it away."""
    command = ["smtp-sink", "-u", "postfix", f"127.0.0.1:{port}", "512"]
    server = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        rig.wait_for(port, server)
        yield
    finally:
        rig.stop(server)


@contextmanager
def mail_server(bench: Bench, ports: Ports, processes: int, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """A running `manage.py mailserver`."""
    settings = {name: str(value) for name, value in ports.settings().items()}
    env = {
        **bench.env,
        **settings,
        "MAIL_PROCESSES": str(processes),
        "MAIL_UNKNOWN_PER_CLIENT": "0",
        "MAIL_UNKNOWN_PER_DAY": "0",
        **more,
    }
    server = subprocess.Popen(
        [sys.executable, "manage.py", "mailserver"], cwd=rig.ROOT, env=env, start_new_session=True
    )
    try:
        rig.wait_for(ports.door, server)
        yield server
    finally:
        rig.stop(server)


@contextmanager
def postfix(bench: Bench, ports: Ports, variant: Sequence[str], more: Mapping[str, str]) -> Iterator[Postfix]:
    """A Postfix that `postfix_config` has configured."""
    settings = {name: str(value) for name, value in ports.settings().items()}
    bench.number += 1
    written = bench.directory / f"written{bench.number}"
    command = ["manage.py", "postfix_config", "fresh", "--directory", str(written)]
    command += ["--reinjection", f"127.0.0.1:{ports.reinjection}", *variant]
    rig.run(command, {**bench.env, **settings})
    with mta.directory() as directory:
        main_cf = (written / "main.cf").read_text()
        mta.install(directory, main_cf, (written / "master.cf").read_text(), ports, more, {})
        with mta.started(directory, ports) as running:
            yield running


def through(running: Postfix, ports: Ports, messages: int) -> float:
    """Messages per second, from the first one sent until the queue is empty."""
    began = time.perf_counter()
    source(ports.smtp, messages)
    queues = [running.directory / "queue" / name for name in ("maildrop", "incoming", "active", "deferred")]
    while any(file for queue in queues for _path, _folders, files in os.walk(queue) for file in files):
        if time.perf_counter() - began > PATIENCE:
            raise RuntimeError("the queue does not get empty")
        time.sleep(0.01)
    return messages / (time.perf_counter() - began)


def static(bench: Bench) -> float:
    """The same Postfix with all aliases in a file: one queue pass, no question to anybody."""
    with ExitStack() as stack:
        ports = Ports.free(stack.enter_context(mta.directory()) / "queue")
        aliases = bench.directory / "static"
        if not aliases.is_file():
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
        stack.enter_context(sink(ports.sink))
        running = stack.enter_context(postfix(bench, ports, [], more))
        through(running, ports, bench.messages // 10)
        return through(running, ports, bench.messages)


def with_postfix(bench: Bench, processes: int, *variant: str) -> dict[str, Any]:
    """Postfix and Anonmail together: messages per second, the policy's latency meanwhile, memory."""
    with ExitStack() as stack:
        ports = Ports.free(stack.enter_context(mta.directory()) / "queue")
        stack.enter_context(sink(ports.sink))
        server = stack.enter_context(mail_server(bench, ports, processes))
        running = stack.enter_context(postfix(bench, ports, variant, {}))
        through(running, ports, bench.messages // 10)
        with asking(ports) as latencies:
            rate = through(running, ports, bench.messages)
        return {"rate": rate, "policy_ms": percentiles(latencies), "memory_mib": memory(server)}


def alone(bench: Bench, processes: int) -> dict[str, Any]:
    """The mail server without Postfix: SMTP in, SMTP out."""
    with ExitStack() as stack:
        ports = Ports.free(stack.enter_context(mta.directory()) / "queue")
        stack.enter_context(sink(ports.sink))
        hop = {"MAIL_NEXT_HOP": f"smtp://127.0.0.1:{ports.sink}"}
        server = stack.enter_context(mail_server(bench, ports, processes, **hop))
        source(ports.door, bench.messages // 10)
        rate = bench.messages / source(ports.door, bench.messages)
        return {"rate": rate, "memory_mib": memory(server)}


def memory(server: subprocess.Popen[bytes]) -> list[int]:
    """The resident memory of the server's processes, in MiB."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        except OSError:
            continue
        if str(server.pid) in {status.parent.name, fields.get("PPid", "").strip()} and "VmRSS" in fields:
            found.append(int(fields["VmRSS"].split()[0]) // 1024)
    return sorted(found)


def ask(stream: Any, number: int) -> float:
    """Ask the policy about one alias; the seconds until the answer."""
    recipient = f"{number % 1000 + 1}n@{DOMAIN}"
    began = time.perf_counter()
    question = f"request=smtpd_access_policy\nprotocol_state=RCPT\nsender=e@s.test\nrecipient={recipient}\n\n"
    stream.write(question.encode())
    stream.flush()
    if stream.readline() != b"action=DUNNO\n" or stream.readline() != b"\n":
        raise RuntimeError("the policy did not say DUNNO")
    return time.perf_counter() - began


@contextmanager
def asking(ports: Ports) -> Iterator[list[float]]:
    """Ask the policy now and then during the block; the latencies in seconds."""
    latencies: list[float] = []
    over = threading.Event()

    def go_on() -> None:
        with connect(endpoint(ports.settings()["MAIL_POLICY_LISTEN"]), 10) as connection:
            stream = connection.makefile("rwb")
            while not over.wait(POLICY_PAUSE):
                latencies.append(ask(stream, len(latencies)))

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield latencies
    finally:
        over.set()
        thread.join()


def policy_rate(bench: Bench, processes: int) -> dict[str, Any]:
    """Policy answers per second over 8 connections that ask without a pause, and their latency."""
    with (
        mta.directory() as directory,
        mail_server(bench, ports := Ports.free(directory / "queue"), processes),
    ):
        latencies: list[float] = []
        until = time.perf_counter() + POLICY_SECONDS

        def go_on() -> None:
            with connect(endpoint(ports.settings()["MAIL_POLICY_LISTEN"]), 10) as connection:
                stream = connection.makefile("rwb")
                while time.perf_counter() < until:
                    latencies.append(ask(stream, len(latencies)))

        threads = [threading.Thread(target=go_on) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return {"rate": len(latencies) / POLICY_SECONDS, "policy_ms": percentiles(latencies)}


def percentiles(latencies: Sequence[float]) -> dict[str, float]:
    """The median and the 99th percentile, in milliseconds."""
    cuts = statistics.quantiles(latencies, n=100)
    return {"p50": round(cuts[49] * 1000, 2), "p99": round(cuts[98] * 1000, 2)}


def measure(bench: Bench, given: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of the table, each with the static Postfix's rate of the same round beside it."""
    designs: list[tuple[str, Any]] = []
    for processes in (1, 2):
        designs += [
            (f"LMTP, {processes} process", lambda n=processes: with_postfix(bench, n)),
            (f"milter, {processes} process", lambda n=processes: with_postfix(bench, n, "--milter")),
            (f"mail server alone, {processes} process", lambda n=processes: alone(bench, n)),
            (f"policy alone, {processes} process", lambda n=processes: policy_rate(bench, n)),
        ]
    rows: dict[str, list[dict[str, Any]]] = {}
    for number in range(given.rounds):
        say(f"round {number + 1}: static")
        floor = static(bench)
        rows.setdefault("static file", []).append({"rate": floor, "ratio": 1.0})
        for name, run in designs:
            if given.only and given.only not in name:
                continue
            say(f"round {number + 1}: {name}")
            row = run()
            row["ratio"] = row["rate"] / floor
            rows.setdefault(name, []).append(row)
    return [{"design": name, "rounds": rounds} for name, rounds in rows.items()]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table: medians of the rounds."""
    lines = [
        "| design | per second | of the static Postfix | of the rounds | policy p50 ms | p99 ms | MiB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        rounds = row["rounds"]
        rate = statistics.median(each["rate"] for each in rounds)
        ratios = sorted(each["ratio"] for each in rounds)
        policy = [each["policy_ms"] for each in rounds if "policy_ms" in each]
        p50, p99 = (
            f"{statistics.median(each[name] for each in policy):.1f}" if policy else ""
            for name in ("p50", "p99")
        )
        used = "+".join(map(str, rounds[-1].get("memory_mib", [])))
        is_mail = not row["design"].startswith("policy")
        ratio = f"{statistics.median(ratios):.2f}" if is_mail else ""
        spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}" if is_mail else ""
        lines.append(f"| {row['design']} | {rate:.0f} | {ratio} | {spread} | {p50} | {p99} | {used} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=4000, help="of each measurement (default 4000)")
    parser.add_argument("--rounds", type=int, default=3, help="(default 3)")
    parser.add_argument("--aliases", type=int, default=1_000_000, help="present before (default 1000000)")
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
            more = ["--far", FAR, "--numbered", numbered]
            env, _keys = rig.filled(directory, urls["ours"], given.aliases, USERS, *more)
            env["BENCH_ALIASES"] = str(given.aliases)
            rows = measure(Bench(directory, env, given.messages), given)
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


if __name__ == "__main__":
    sys.exit(main())
