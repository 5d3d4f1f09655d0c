"""Messages through Postfix and Anonmail, beside the same Postfix with a static alias file: rate and CPU.

smtp-source sends, smtp-sink takes; PostgreSQL waits for the disk at each commit. Every design is ready
all the time, and they get bursts of messages in turn, so that a noisy machine hurts all alike. The ratio
of a burst is that to the static Postfix's burst of the same turn; "of the door" compares with the same
doors without Anonmail's rules. CPU time is what the processes of each component used in a burst, those
that have ended included.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import mail_waits, rig
from bench.cpu_time import children
from bench.create import RESULTS, machine, say
from bench.mail_designs import COMPONENTS, DESIGNS, DOORS, FAR, STATIC, Bench, Design
from bench.mail_traffic import SESSIONS, memory, writers_of
from bench.mail_waits import waits
from bench.paced import ALIASES
from tests.rig import mta
from tests.rig.postgresql import Missing


def measure(bench: Bench, given: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of the table."""
    with ExitStack() as stack:
        designs: dict[str, Design] = {}
        doors: dict[str, str] = {}
        for name, number in chosen(given):
            label = name if number == given.processes[0] else f"{name}, {number} processes"
            if name in DOORS:
                doors[label] = label.replace(name, DOORS[name])
            say(f"preparing: {label}")
            designs[label] = DESIGNS[name](replace(bench, processes=number), stack)
            designs[label].burst(max(SESSIONS, bench.messages // 10))
        for number in range(given.rounds):
            say(f"round {number + 1} of {given.rounds}")
            for design in designs.values():
                design.bursts.append(design.burst(bench.messages))
            rates = {name: design.bursts[-1]["rate"] for name, design in designs.items()}
            for name, design in designs.items():
                design.bursts[-1]["ratio"] = rates[name] / rates[STATIC]
                if (door := doors.get(name)) in rates:
                    design.bursts[-1]["of_door"] = rates[name] / rates[door]
        rows = []
        for name, design in designs.items():
            say(f"latencies and memory: {name}")
            row: dict[str, Any] = {"design": name, "bursts": design.bursts}
            rate = statistics.median(burst["rate"] for burst in design.bursts)
            row |= waits(design, rate, bench.directory)
            if server := design.roots.get("python"):
                row["memory_mib"] = memory(server, "VmRSS")
                design.large_messages()
                row["memory_of_large_mib"] = memory(server, "VmHWM")
            rows.append(row)
        return rows


def chosen(given: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """The designs that are measured, each with its number of processes."""
    for name in DESIGNS:
        if name == STATIC:
            yield name, given.processes[0]
        elif given.only in name:
            yield from ((name, number) for number in given.processes)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table: medians of the bursts."""
    lines = [
        "| design | per second | of static | spread | of the door | Postfix, CPU ms | Python | PostgreSQL"
        " | load | total | MiB | MiB, 20 MB |",
        "|---|" + "--:|" * 11,
    ]
    for row in rows:
        bursts = row["bursts"]
        ratios = sorted(burst["ratio"] for burst in bursts)
        of_door = [burst["of_door"] for burst in bursts if "of_door" in burst]
        cpu = [
            statistics.median(burst["cpu_ms"][name] for burst in bursts) for name in (*COMPONENTS, "total")
        ]
        used = ["+".join(map(str, row.get(name, []))) for name in ("memory_mib", "memory_of_large_mib")]
        cells = [
            row["design"],
            f"{statistics.median(burst['rate'] for burst in bursts):.0f}",
            f"{statistics.median(ratios):.2f}",
            f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
            f"{statistics.median(of_door):.2f}" if of_door else "",
            *(f"{each:.2f}" if each else "" for each in cpu),
            *used,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=2000, help="of a burst (default 2000)")
    parser.add_argument("--rounds", type=int, default=7, help="bursts of each design (default 7)")
    parser.add_argument("--aliases", type=int, default=1_000_000, help="present before (default 1000000)")
    parser.add_argument(
        "--processes", type=int, nargs="+", default=[1, 2], help="of a mail server (default 1, and 2)"
    )
    parser.add_argument("--only", default="", help="designs whose name has this in it")
    given = parser.parse_args(arguments)
    if given.aliases < ALIASES:
        parser.error(f"--aliases: at least {ALIASES}")
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
            env, _keys = rig.filled(directory, urls["ours"], given.aliases, rig.USERS, *more)
            env |= {"BENCH_ALIASES": str(given.aliases), "MAIL_POSTMASTER": f"boss@{FAR}"}
            (postmaster,) = (pid for pid in children(os.getpid()) if name_of(pid) == "postgres")
            writers = writers_of(urls["ours"])
            bench = Bench(directory, env, given.messages, given.processes[0], postmaster, writers)
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
    print(table(rows), mail_waits.table(rows), sep="\n\n")
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
