"""Measures `POST /api/alias/random/new` against two floors: `python -m bench.create` (`make bench`).

The floor is a bare Django view that inserts one row (bench/floor); the second is one that runs the SQL
statements of a create, without its rules (bench/recorded.py). All are served by the same gunicorn
configuration over the same kind of database with the same connection settings, and measured in turns, so
that a noisy machine hurts them alike. Prints two tables, of rates and of CPU time, and writes JSON to
bench/results/.
"""

import argparse
import json
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg

from bench import rig
from bench.cpu_time import children, cpu_of_tree, is_postgres
from tests.rig.postgresql import Missing

CONNECTIONS = (1, 8, 32)
RESULTS = Path(__file__).resolve().parent / "results"
CREATE = "/api/alias/random/new?hostname=www.github.com"
PATHS = {"floor": "/insert", "statements": "/statements", "ours": CREATE}
NOTE = json.dumps({"note": "Made by the password manager for the sign-in page"})


def request(path: str, port: int, key: str) -> str:
    """One request's octets: the same for both servers but for the path."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthentication: {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(NOTE)}\r\n\r\n{NOTE}"
    )


def measure(path: str, port: int, keys: Sequence[str], connections: int, seconds: float) -> dict[str, Any]:
    """One round with a load generator in a process of its own, and the CPU milliseconds of each answer, of
    the web servers' and of the database's processes. Raises RuntimeError on a wrong answer."""
    requests = [request(path, port, key) for key in keys]
    order = {"port": port, "connections": connections, "seconds": seconds, "requests": requests}
    before = used()
    measured = dict(json.loads(rig.run(["-m", "bench.load"], dict(os.environ), json.dumps(order))))
    # Only one of the servers works, and the load generator has ended.
    web, database = (
        (now - then) / measured["answers"] * 1000 for now, then in zip(used(), before, strict=True)
    )
    return measured | {"web_ms": web, "database_ms": database}


def used() -> tuple[float, float]:
    """The CPU seconds of the servers that this process has started: the web servers', and PostgreSQL's."""
    web = database = 0.0
    for pid in children(os.getpid()):
        if is_postgres(pid):
            database += cpu_of_tree(pid)
        else:
            web += cpu_of_tree(pid)
    return web, database


def milliseconds(rounds: Sequence[dict[str, Any]]) -> dict[str, float]:
    """p50 and p99 of all rounds' latencies together."""
    latencies = [latency for each in rounds for latency in each["latencies"]]
    cuts = statistics.quantiles(latencies, n=100, method="inclusive")
    return {"p50_ms": round(cuts[49] * 1000, 2), "p99_ms": round(cuts[98] * 1000, 2)}


def summary(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A server's figures over its rounds: the median rate, the latencies, the tries that collided, and the
    median CPU time of an answer."""
    rates = [round(len(each["latencies"]) / each["seconds"], 1) for each in rounds]
    retried = sum(each["retried"] for each in rounds) / max(1, sum(len(each["latencies"]) for each in rounds))
    return {
        "per_second": statistics.median(rates),
        "rates": rates,
        "retried": round(retried, 4),
        **{name: statistics.median(each[name] for each in rounds) for name in ("web_ms", "database_ms")},
        "cpu": [each["web_ms"] + each["database_ms"] for each in rounds],
        **milliseconds(rounds),
    }


def bench(kind: str, given: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of the table for one kind of database. Raises tests.rig.postgresql.Missing."""
    rows = []
    with rig.temporary_directory() as directory, rig.databases(kind, directory, "ours", "floor") as urls:
        say(f"{kind}: filling with {given.aliases:,} aliases")
        env, keys = rig.filled(directory, urls["ours"], given.aliases, rig.USERS)
        floor_env = {**env, "DATABASE_URL": urls["floor"], "DJANGO_SETTINGS_MODULE": "bench.floor.settings"}
        rig.run(["-m", "django", "migrate", "--run-syncdb", "--verbosity", "0"], floor_env)
        record = directory / "record"
        command = ["-m", "bench.cpu", "--serve", "ours", "--record", str(record)]
        rig.run(command, env, json.dumps(keys) + "\n")
        same_env = {**floor_env, "DATABASE_URL": urls["ours"], "RECORD": str(record)}
        with (
            rig.gunicorn("bench.floor.wsgi", floor_env) as floor,
            rig.gunicorn("bench.floor.wsgi", same_env) as statements,
            rig.gunicorn("anonmail_site.wsgi", env) as ours,
        ):
            ports = {"floor": floor, "statements": statements, "ours": ours}
            for connections in CONNECTIONS:
                say(f"{kind}: {connections} connections, {given.rounds} rounds of {given.seconds:g} s each")
                turns: dict[str, list[dict[str, Any]]] = {name: [] for name in ports}
                for _round in range(given.rounds):
                    for name, port in ports.items():
                        turns[name].append(measure(PATHS[name], port, keys, connections, given.seconds))
                rows.append(
                    {
                        "database": kind,
                        "connections": connections,
                        **{name: summary(rounds) for name, rounds in turns.items()},
                    }
                )
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| database | connections | creates/s | floor/s | of the floor | of the rounds | statements/s "
        "| of the statements | of the rounds | p50 ms | p99 ms | floor p50 | floor p99 |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        ours, floor, statements = row["ours"], row["floor"], row["statements"]
        lines.append(
            f"| {row['database']} | {row['connections']} | {ours['per_second']:.0f} "
            f"| {floor['per_second']:.0f} | {_ratio(ours, floor)} "
            f"| {statements['per_second']:.0f} | {_ratio(ours, statements)} "
            f"| {ours['p50_ms']:.1f} | {ours['p99_ms']:.1f} "
            f"| {floor['p50_ms']:.1f} | {floor['p99_ms']:.1f} |"
        )
    return "\n".join(lines)


def cpu_table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows' CPU milliseconds as a Markdown table."""
    lines = [
        "| database | connections | a create: web, ms | database, ms | both | floor | the statements "
        "| of the statements | of the rounds |",
        "|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for row in rows:
        ours, floor, statements = (
            statistics.median(row[name]["cpu"]) for name in ("ours", "floor", "statements")
        )
        ratios = [bare / one for one, bare in zip(row["ours"]["cpu"], row["statements"]["cpu"], strict=True)]
        lines.append(
            f"| {row['database']} | {row['connections']} | {row['ours']['web_ms']:.2f} "
            f"| {row['ours']['database_ms']:.2f} | {ours:.2f} | {floor:.2f} | {statements:.2f} "
            f"| {statements / ours:.2f} | {min(ratios):.2f} to {max(ratios):.2f} |"
        )
    return "\n".join(lines)


def _ratio(ours: dict[str, Any], other: dict[str, Any]) -> str:
    """Two cells: the ratio of the medians, and from what to what that of neighbouring rounds went."""
    # How far they lie apart is how noisy the machine was.
    ratios = [one / bare for one, bare in zip(ours["rates"], other["rates"], strict=True)]
    return f"{ours['per_second'] / other['per_second']:.2f} | {min(ratios):.2f} to {max(ratios):.2f}"


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    names = ("Django", "djangorestframework", "gunicorn", "psycopg")
    return {
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "load_before": [round(value, 2) for value in os.getloadavg()],
        "file_system": rig.file_system(tempfile.gettempdir()),
        "sqlite": sqlite3.sqlite_version,
        "libpq": psycopg.pq.version(),
        **{name: version(name) for name in names},
    }


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5, help="of each round (default 5)")
    parser.add_argument("--rounds", type=int, default=4, help="per server and row (default 4)")
    parser.add_argument("--aliases", type=int, default=100_000, help="present before (default 100000)")
    parser.add_argument("--only", choices=rig.DATABASES, help="one kind of database")
    given = parser.parse_args(arguments)
    RESULTS.mkdir(exist_ok=True)
    try:
        alone = rig.alone(RESULTS / ".lock")
    except BlockingIOError:
        say("Another measurement runs in this checkout: two at once measure each other.")
        return 1
    rig.stop_on_signals()
    with alone:
        return measure_all(given)


def measure_all(given: argparse.Namespace) -> int:
    """Measure, print and write what the arguments ask for; the exit code."""
    result: dict[str, Any] = {"machine": machine(), "arguments": vars(given), "rows": []}
    if result["machine"]["file_system"] in {"tmpfs", "ramfs"}:
        say("Temporary files are in memory here: commits cost nothing. Set TMPDIR to a place on a disk.")
    started = datetime.now(UTC)
    code = 0
    try:
        for kind in [given.only] if given.only else rig.DATABASES:
            try:
                result["rows"] += bench(kind, given)
            except Missing as reason:
                print(f"SKIPPED: {kind}: {reason}")
                code = 1 if os.environ.get("CI") == "true" else code
    except KeyboardInterrupt:
        say("Stopped.")
        return 130
    print(table(result["rows"]), cpu_table(result["rows"]), sep="\n\n")
    path = RESULTS / f"create-{started:%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    say(f"Written to {path.relative_to(rig.ROOT)}")
    return code


if __name__ == "__main__":
    sys.exit(main())
