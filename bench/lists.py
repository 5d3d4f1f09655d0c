"""Measures the lists of both dialects against a floor: `python -m bench.lists` (`make bench-lists`).

One owner with all the aliases, twenty a page; the floor is a bare Django view that reads twenty rows
(bench/floor). The first page and the five hundredth, of SimpleLogin's list and of addy.io's, which also
counts them all. One connection, in turns.
"""

import argparse
import http.client
import json
import statistics
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from bench import rig
from bench.create import RESULTS, machine, say
from tests.rig.postgresql import Missing

# The first page and the five hundredth of each list; SimpleLogin counts from 0.
LISTS = {
    "SimpleLogin": ("/api/v2/aliases?page_id={}", (0, 499)),
    "addy.io": ("/api/v1/aliases?page[size]=20&page[number]={}", (1, 500)),
}
PAGES = [(dialect, path, number) for dialect, (path, numbers) in LISTS.items() for number in numbers]
FILL_FLOOR = """
import django
django.setup()
from bench.floor.models import Row
Row.objects.bulk_create(Row(text="github.alpha@example.com") for _ in range(1000))
"""


def latencies(port: int, path: str, key: str, number: int) -> list[float]:
    """The seconds that each of so many requests took, over one kept connection. Raises RuntimeError."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    found = []
    for _request in range(number):
        began = time.perf_counter()
        connection.request("GET", path, headers={"Authentication": key})
        answer = connection.getresponse()
        body = answer.read()
        found.append(time.perf_counter() - began)
        told = json.loads(body)
        if answer.status != 200 or len(told.get("aliases") or told.get("data") or ()) != 20:
            raise RuntimeError(f"{path}: {answer.status}")
    connection.close()
    return found


def bench(kind: str, aliases: int, given: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of the table for one kind of database and so many aliases. Raises Missing."""
    rows = []
    with rig.temporary_directory() as directory, rig.databases(kind, directory, "ours", "floor") as urls:
        say(f"{kind}: filling with {aliases:,} aliases of one owner")
        env, keys = rig.filled(directory, urls["ours"], aliases, 1)
        floor_env = {**env, "DATABASE_URL": urls["floor"], "DJANGO_SETTINGS_MODULE": "bench.floor.settings"}
        rig.run(["-m", "django", "migrate", "--run-syncdb", "--verbosity", "0"], floor_env)
        rig.run(["-c", FILL_FLOOR], floor_env)
        with (
            rig.gunicorn("anonmail_site.wsgi", env) as ours,
            rig.gunicorn("bench.floor.wsgi", floor_env) as floor,
        ):
            for dialect, form, page in PAGES:
                path = form.format(page)
                mine: list[float] = []
                bare: list[float] = []
                for _round in range(given.rounds):
                    bare += latencies(floor, "/rows", keys[0], given.requests)
                    mine += latencies(ours, path, keys[0], given.requests)
                rows.append(
                    {
                        "database": kind,
                        "aliases": aliases,
                        "dialect": dialect,
                        "page": page,
                        "ms": round(statistics.median(mine) * 1000, 2),
                        "p99_ms": round(statistics.quantiles(mine, n=100)[98] * 1000, 2),
                        "floor_ms": round(statistics.median(bare) * 1000, 2),
                    }
                )
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| database | aliases | list | page | median ms | p99 ms | floor's median ms | times the floor |",
        "|---|---:|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        lines.append(
            f"| {row['database']} | {row['aliases']:,} | {row['dialect']} | {row['page']} | {row['ms']:.1f} "
            f"| {row['p99_ms']:.1f} | {row['floor_ms']:.1f} | {row['ms'] / row['floor_ms']:.1f} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--aliases", type=int, nargs="+", default=[10_000, 1_000_000], help="of one owner")
    parser.add_argument("--requests", type=int, default=100, help="of each round (default 100)")
    parser.add_argument("--rounds", type=int, default=3, help="(default 3)")
    parser.add_argument("--only", choices=rig.DATABASES, help="one kind of database")
    given = parser.parse_args(arguments)
    RESULTS.mkdir(exist_ok=True)
    started = datetime.now(UTC)
    rig.stop_on_signals()
    rows: list[dict[str, Any]] = []
    try:
        with rig.alone(RESULTS / ".lock"):
            for kind in [given.only] if given.only else rig.DATABASES:
                for aliases in given.aliases:
                    try:
                        rows += bench(kind, aliases, given)
                    except Missing as reason:
                        print(f"SKIPPED: {kind}: {reason}")
    except BlockingIOError:
        say("Another measurement runs in this checkout: two at once measure each other.")
        return 1
    except KeyboardInterrupt:
        say("Stopped.")
        return 130
    print(table(rows))
    path = RESULTS / f"lists-{started:%Y%m%dT%H%M%SZ}.json"
    path.write_text(
        json.dumps({"machine": machine(), "arguments": vars(given), "rows": rows}, indent=2) + "\n"
    )
    say(f"Written to {path.relative_to(rig.ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
