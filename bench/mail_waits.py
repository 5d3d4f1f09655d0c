"""How long answers take beside a load: Postfix's to RCPT, the policy's, and those of a process that does
nothing else.

Each as a plain process among others, and in groups with the weights of our systemd units (bench/weights.py).
"""

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench import rig
from bench.mail_designs import Design
from bench.mail_traffic import MESSAGE_OCTETS
from bench.paced import ALIASES, go_first
from bench.weights import USUAL, can_weigh, weighed
from core.listening import connect, endpoint

# The load beside which latencies are measured, as a part of what the design carries, and for how long.
PART, SECONDS = 0.8, 10
PAUSE = 0.05  # seconds between two questions beside the load
# What gives them their weights on a machine with systemd.
UNITS = {
    "mail": rig.ROOT / "deploy/systemd/anonmail-mail.service",
    "postgresql": rig.ROOT / "deploy/systemd/system-postgresql.slice.d/anonmail.conf",
}
# Whose answers are timed, in the order of the table's columns.
WHOSE = {"rcpt_ms": "RCPT", "policy_ms": "policy", "at_once_ms": "at once"}
# Without weights, and with them.
WAYS = {"waits": "", "waits_weighed": ", weighed"}


def weight_of(name: str) -> int:
    """The CPUWeight that our units give to the mail server or PostgreSQL; the usual one for what they do not
    mention."""
    lines = UNITS[name].read_text().splitlines() if name in UNITS else []
    found = [line.partition("=")[2] for line in lines if line.startswith("CPUWeight=")]
    return int(found[0]) if found else USUAL


@contextmanager
def answering_at_once(directory: Path) -> Iterator[tuple[str, int]]:
    """Where a process answers policy questions at once, and its process id."""
    path = directory / "at-once"
    command = [sys.executable, "-m", "bench.at_once", str(path)]
    server = subprocess.Popen(command, cwd=rig.ROOT, start_new_session=True)
    try:
        deadline = time.monotonic() + rig.START_TIMEOUT
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        yield f"unix:{path}", server.pid
    finally:
        rig.stop(server)
        path.unlink(missing_ok=True)


@contextmanager
def asking(place: str, domain: str) -> Iterator[list[float]]:
    """Ask the policy there now and then during the block; the latencies in seconds."""
    latencies: list[float] = []
    over = threading.Event()

    def go_on() -> None:
        go_first()
        with connect(endpoint(place), 10) as connection:
            stream = connection.makefile("rwb")
            while not over.wait(PAUSE):
                latencies.append(_ask(stream, len(latencies), domain))

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield latencies
    finally:
        over.set()
        thread.join()


def _ask(stream: Any, number: int, domain: str) -> float:
    """Ask the policy about one alias; the seconds until the answer."""
    recipient = f"{number % ALIASES + 1}n@{domain}"
    question = f"request=smtpd_access_policy\nprotocol_state=RCPT\nsender=e@s.test\nrecipient={recipient}\n\n"
    began = time.perf_counter()
    stream.write(question.encode())
    stream.flush()
    if stream.readline() != b"action=DUNNO\n" or stream.readline() != b"\n":
        raise RuntimeError("the policy did not say DUNNO")
    return time.perf_counter() - began


def waits(design: Design, rate: float, directory: Path) -> dict[str, Any]:
    """How long answers take beside PART of so many messages a second. Not measured beside replies."""
    if not design.domain:
        return {}
    with answering_at_once(directory) as (place, process):
        found: dict[str, Any] = {"waits": _beside_load(design, rate * PART, place)}
        if can_weigh() and "python" in design.roots:
            ours = weight_of("mail"), (design.roots["python"], process)
            others = {
                name: (weight_of(name), (design.roots[name],))
                for name in ("postfix", "postgresql")
                if name in design.roots
            }
            with weighed({"mail": ours, **others}):
                found["waits_weighed"] = _beside_load(design, rate * PART, place)
    return found


def _beside_load(design: Design, rate: float, at_once: str) -> dict[str, dict[str, float]]:
    stream = [str(design.port), f"{rate:.1f}", str(SECONDS), design.domain, str(MESSAGE_OCTETS)]
    with ExitStack() as stack:
        asked = {"at_once_ms": stack.enter_context(asking(at_once, design.domain))}
        if design.policy:
            asked["policy_ms"] = stack.enter_context(asking(design.policy, design.domain))
        rcpt = json.loads(rig.run(["-m", "bench.paced", *stream], dict(os.environ)))
    return {name: percentiles(seconds) for name, seconds in {"rcpt_ms": rcpt, **asked}.items()}


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """The median and the 99th percentile, in milliseconds."""
    cuts = statistics.quantiles(seconds, n=100)
    return {"p50": round(cuts[49] * 1000, 2), "p99": round(cuts[98] * 1000, 2)}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The waits of these rows as a Markdown table."""
    heads = [
        f"{whose}{weighed_or_not} {cut}"
        for weighed_or_not in WAYS.values()
        for whose in WHOSE.values()
        for cut in ("p50", "p99")
    ]
    lines = [f"| design, ms | {' | '.join(heads)} |", "|---|" + "--:|" * len(heads)]
    for row in rows:
        cells = [
            f"{row[way][whose][cut]:.1f}" if whose in row.get(way, {}) else ""
            for way in WAYS
            for whose in WHOSE
            for cut in ("p50", "p99")
        ]
        if any(cells):
            lines.append(f"| {row['design']} | {' | '.join(cells)} |")
    return "\n".join(lines)
