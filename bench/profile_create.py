"""Profiles one create: its SQL statements with milliseconds each, and where Python's time goes.

`python -m bench.profile_create [--database sqlite|postgresql]` runs the WSGI application in this
process over a database filled as for `bench.create`. The milliseconds are medians, as the caller sees
them: driver and round trip included. COMMIT stands apart: it is the wait for the disk.
"""

import argparse
import cProfile
import io
import pstats
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

from bench import rig
from bench.create import CREATE, NOTE

Create = Callable[[], None]


def asked(application: Callable[..., Any], status: int, **environ: Any) -> bytes:
    """What the application answers to a request, as gunicorn would send it. Raises RuntimeError for another
    status."""
    usual = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1:8000",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
    }
    statuses: list[str] = []
    response = application(usual | environ, lambda status, headers: statuses.append(status))
    answer = b"".join(response)
    response.close()
    if not statuses[0].startswith(str(status)):
        raise RuntimeError(f"{statuses[0]} {answer.decode()}")
    return answer


def creator(application: Callable[..., Any], keys: Sequence[str], url: str = CREATE) -> Create:
    """A function that makes one alias, each time for the next user."""
    users = cycle(keys)
    path, _mark, query = url.partition("?")
    body = NOTE.encode()

    def create() -> None:
        environ = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "HTTP_AUTHENTICATION": next(users),
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
        }
        asked(application, 201, **environ)

    return create


def statements(create: Create, count: int) -> tuple[list[tuple[str, float]], float]:
    """The statements of a create with the median milliseconds of each, and those of a whole create.

    Creates that met a taken name, or a token's first use, have others and are left out.
    """
    from django.db import connection

    seen: list[tuple[str, float]] = []

    def timed(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        begin = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            seen.append((sql, time.perf_counter() - begin))

    commit = connection._commit

    def timed_commit() -> None:
        begin = time.perf_counter()
        commit()
        seen.append(("COMMIT", time.perf_counter() - begin))

    connection._commit = timed_commit
    runs = []
    with connection.execute_wrapper(timed):
        for _ in range(count):
            seen.clear()
            begin = time.perf_counter()
            create()
            runs.append((time.perf_counter() - begin, list(seen)))
    del connection._commit
    usual, _times = Counter(tuple(sql for sql, _seconds in each) for _total, each in runs).most_common(1)[0]
    runs = [(total, each) for total, each in runs if tuple(sql for sql, _seconds in each) == usual]
    medians = [
        (sql, statistics.median(each[place][1] for _total, each in runs) * 1000)
        for place, sql in enumerate(usual)
    ]
    return medians, statistics.median(total for total, _each in runs) * 1000


def shortened(sql: str) -> str:
    """The statement without its column list, at most a line."""
    sql = re.sub(r"\s+", " ", sql.replace('"', ""))
    sql = re.sub(r"^SELECT .*? FROM ", "SELECT … FROM ", sql)
    return sql if len(sql) <= 90 else f"{sql[:89]}…"


def report(kind: str, keys: Sequence[str], given: argparse.Namespace) -> None:
    from django.core.wsgi import get_wsgi_application

    create = creator(get_wsgi_application(), keys)
    for _ in range(len(keys)):
        create()  # every token's first use, every cache's first fill
    measured, total = statements(create, given.count)
    print(f"\n{kind}: one create takes {total:.2f} ms\n\n| ms | statement |\n|---:|---|")
    for sql, taken in measured:
        print(f"| {taken:.2f} | `{shortened(sql)}` |")
    in_sql = sum(taken for _sql, taken in measured)
    commits = sum(taken for sql, taken in measured if sql == "COMMIT")
    print(f"| {in_sql:.2f} | all, of which {commits:.2f} wait for the disk |")
    print(f"| {total - in_sql:.2f} | Python between them |\n")
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(given.count):
        create()
    profile.disable()
    output = io.StringIO()
    stats = pstats.Stats(profile, stream=output).strip_dirs()
    stats.sort_stats("cumulative").print_stats(given.functions)
    stats.sort_stats("tottime").print_stats(given.functions // 2)
    print(f"{given.count} creates (a profiled one is slower: compare, do not add up)")
    print(output.getvalue())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--database", choices=rig.DATABASES, default="postgresql")
    parser.add_argument("--aliases", type=int, default=100_000, help="present before (default 100000)")
    parser.add_argument("--count", type=int, default=500, help="creates to measure (default 500)")
    parser.add_argument("--functions", type=int, default=50, help="lines of Python's profile")
    given = parser.parse_args(arguments)
    return rig.measured_here(given.database, given.aliases, lambda keys: report(given.database, keys, given))


if __name__ == "__main__":
    sys.exit(main())
