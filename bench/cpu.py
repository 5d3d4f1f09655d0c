"""Measures the CPU time of a create, of the web process and of the database: `python -m bench.cpu`.

Three applications answer the same request, each in one process, without a web server in front: ours, the
same SQL statements in a bare view, and the floor (a bare view that inserts one row). They take turns, and
the least of all turns counts: CPU time that a busy machine adds is no cost of ours. On SQLite, the database's
time is the web process's.
"""

import argparse
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import rig
from bench.cpu_time import backends, cpu_of
from bench.create import PATHS


class Served:
    """One of the applications in a process of its own."""

    def __init__(self, env: dict[str, str], *module: str) -> None:
        """`module`: what it runs, with its arguments; it ends in `answer_turns`."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", *module],
            cwd=rig.ROOT,
            env=env,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def ask(self, question: Any) -> Any:
        """What the process answers. Raises RuntimeError if it has ended."""
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps(question), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError("the process under measurement has ended")
        return json.loads(answer)

    def stop(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(30)


def answer_turns(request: Callable[[], object]) -> None:
    """Make as many requests as each line of standard input asks for; print the CPU seconds they took."""
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        begin = time.process_time()
        for _ in range(json.loads(line)):
            request()
        print(json.dumps(time.process_time() - begin), flush=True)


def serve(name: str, record: Path) -> None:
    from django.core.wsgi import get_wsgi_application

    from bench.profile_create import creator

    keys = json.loads(sys.stdin.readline())
    application = get_wsgi_application()
    create = creator(application, keys, PATHS[name])
    for _ in range(len(keys)):
        create()
    if name == "ours":
        from bench.recorded import write_record

        write_record(create, len(keys), record)
    answer_turns(create)
    rig.close_connections()


def measure(kind: str, given: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """The least CPU milliseconds of a request, of web and database, by application."""
    with rig.temporary_directory() as directory, rig.databases(kind, directory, "ours", "floor") as urls:
        amounts = ("--domains", str(given.domains), "--grants", str(given.grants))
        env, keys = rig.filled(directory, urls["ours"], given.aliases, rig.USERS, *amounts)
        bare = {**env, "DJANGO_SETTINGS_MODULE": "bench.floor.settings"}
        floor = {**bare, "DATABASE_URL": urls["floor"]}
        rig.run(["-m", "django", "migrate", "--run-syncdb", "--verbosity", "0"], floor)
        record = directory / "record"
        envs = {"ours": env, "statements": {**bare, "RECORD": str(record)}, "floor": floor}
        with ExitStack() as stack:
            served = {}
            # Ours first: it records what the second one runs.
            for name in ("ours", "statements", "floor"):
                command = ("bench.cpu", "--serve", name, "--record", str(record))
                served[name] = Served(envs[name], *command)
                stack.callback(served[name].stop)
                served[name].ask(keys)
            return least_of({name: served[name] for name in PATHS}, given.count, given.turns)


def least_of(served: dict[str, Served], count: int, turns: int) -> dict[str, tuple[float, float]]:
    """The least CPU milliseconds of a request, of web and database, by application."""
    servers = backends()
    least = dict.fromkeys(served, (float("inf"), float("inf")))
    for _turn, name in itertools.product(range(turns), served):
        before = cpu_of(servers)
        web = served[name].ask(count) / count * 1000
        database = (cpu_of(servers) - before) / count * 1000
        least[name] = min(least[name], (web, database), key=sum)
    return least


def table(kind: str, least: dict[str, tuple[float, float]]) -> str:
    lines = [
        "| database | application | web, ms | database, ms | both | of the floor |",
        "|---|---|--:|--:|--:|--:|",
    ]
    floor = sum(least["floor"])
    for name, (web, database) in least.items():
        both = web + database
        lines.append(f"| {kind} | {name} | {web:.3f} | {database:.3f} | {both:.3f} | {floor / both:.2f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=rig.DATABASES, help="one kind of database")
    parser.add_argument("--aliases", type=int, default=100_000, help="present before (default 100000)")
    parser.add_argument("--domains", type=int, default=20, help="of the installation (default 20)")
    parser.add_argument("--grants", type=int, default=0, help="of each user (default 0)")
    parser.add_argument("--count", type=int, default=25, help="requests of a turn (default 25)")
    parser.add_argument("--turns", type=int, default=150, help="of each application (default 150)")
    parser.add_argument("--serve", choices=PATHS, help=argparse.SUPPRESS)
    parser.add_argument("--record", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.serve:
        serve(given.serve, given.record)
        return 0
    return rig.print_for_each(given.only, lambda kind: table(kind, measure(kind, given)))


if __name__ == "__main__":
    sys.exit(main())
