"""Measures the CPU time of a list, of the web process and of the database: `python -m bench.cpu_lists`.

The lists of both dialects, for a token that may create and for one that also reads activity, and the page of
aliases, as `bench.cpu` measures a create; beside them the floor (a bare view that reads twenty rows) and, of
each list, the same statements and octets (a bare view that runs its statements and writes its answer as
JSON). One owner has all the aliases, and each of those that are shown has had mail.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import rig
from bench.cpu import Served, answer_turns, least_of
from bench.lists import FILL_FLOOR, LISTS

ACTIVITY = ", activity"
BARE = ", bare"
API_LISTS = {f"{dialect}{more}": path for dialect, (path, _pages) in LISTS.items() for more in ("", ACTIVITY)}
PATHS = {"floor": "/rows", **API_LISTS, "page": "/aliases/"}
# Ours first: it records what the other one runs.
SERVED = [*PATHS, *(f"{name}{BARE}" for name in API_LISTS)]
# Mail for the aliases of the page, and a token that may read it.
_ADD_ACTIVITY = """
import sys, django
django.setup()
from aliases.models import Alias
from mail.models import Activity
from tokens.models import Token
from tokens.scopes import EVERYTHING
first = int(sys.argv[1]) * 20
for aliases in (Alias.objects.recent_first(), Alias.objects.newest_first()):
    shown = list(aliases.values_list("pk", flat=True)[first : first + 20])
    mail = {"event": "forward", "sender": "news@shop.example"}
    Activity.objects.bulk_create(Activity(alias_id=key, **mail) for key in shown)
    Alias.objects.filter(pk__in=shown).update(forwards=1)
owner = Token.objects.get(name="bench").owner
print(f"{owner.email}:{Token.objects.issue(owner=owner, name='activity', scopes=EVERYTHING)[1]}")
"""


def serve(name: str, page: int, record: Path) -> None:
    from django.core.wsgi import get_wsgi_application

    from bench.profile_create import asked

    plain, full = json.loads(sys.stdin.readline())
    key = full if name.endswith(ACTIVITY) else plain
    application = get_wsgi_application()
    _path, (first, _far) = LISTS.get(name.removesuffix(ACTIVITY), ("", (0, 0)))
    path, _mark, query = PATHS.get(name, "/listed").format(page + first).partition("?")
    environ: dict[str, Any] = {"PATH_INFO": path, "QUERY_STRING": query, "HTTP_AUTHENTICATION": key}
    if name == "page":
        environ["HTTP_COOKIE"] = signed_in(key)

    def read() -> bytes:
        return asked(application, 200, **environ)

    for _ in range(20):
        read()
    if name in API_LISTS:
        from bench.recorded import write_list

        write_list(read, record)
    answer_turns(read)
    rig.close_connections()


def signed_in(key: str) -> str:
    """The cookie of a new session of the key's owner."""
    from django.conf import settings
    from django.test import Client

    from accounts.models import User

    client = Client()
    client.force_login(User.objects.get(email=key.partition(":")[0]))
    name = settings.SESSION_COOKIE_NAME
    return f"{name}={client.cookies[name].value}"


def measure(kind: str, given: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """The least CPU milliseconds of a request, of web and database, by application."""
    with rig.temporary_directory() as directory, rig.databases(kind, directory, "ours", "floor") as urls:
        env, keys = rig.filled(directory, urls["ours"], given.aliases, 1)
        floor = {**env, "DATABASE_URL": urls["floor"], "DJANGO_SETTINGS_MODULE": "bench.floor.settings"}
        rig.run(["-m", "django", "migrate", "--run-syncdb", "--verbosity", "0"], floor)
        rig.run(["-c", FILL_FLOOR], floor)
        keys.append(rig.run(["-c", _ADD_ACTIVITY, str(given.page)], env).strip())
        with ExitStack() as stack:
            served = {}
            for name in SERVED:
                record = str(directory / name.removesuffix(BARE))
                bare = {**env, "DJANGO_SETTINGS_MODULE": "bench.floor.settings", "RECORD": record}
                own = floor if name == "floor" else bare if name.endswith(BARE) else env
                command = ("--serve", name, "--page", str(given.page), "--record", record)
                served[name] = Served(own, "bench.cpu_lists", *command)
                stack.callback(served[name].stop)
                served[name].ask(keys)
            return least_of(served, given.count, given.turns)


def table(kind: str, least: dict[str, tuple[float, float]]) -> str:
    """Each list beside the floor and its own statements and octets: how many times each of them it takes."""
    lines = [
        "| database | list | web, ms | database, ms | both | of the floor | same statements | of these |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    both = {name: sum(parts) for name, parts in least.items()}
    for name in PATHS:
        web, database = least[name]
        cells = [f"{web:.2f}", f"{database:.2f}", f"{both[name]:.2f}", f"{both[name] / both['floor']:.1f}"]
        if (bare := both.get(f"{name}{BARE}")) is not None:
            cells += [f"{bare:.2f}", f"{both[name] / bare:.1f}"]
        else:
            cells += ["", ""]
        lines.append(f"| {kind} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=rig.DATABASES, help="one kind of database")
    parser.add_argument("--aliases", type=int, default=100_000, help="of the owner (default 100000)")
    parser.add_argument("--page", type=int, default=0, help="of the APIs' lists, from 0 (default 0)")
    parser.add_argument("--count", type=int, default=10, help="requests of a turn (default 10)")
    parser.add_argument("--turns", type=int, default=100, help="of each application (default 100)")
    parser.add_argument("--serve", choices=SERVED, help=argparse.SUPPRESS)
    parser.add_argument("--record", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.serve:
        serve(given.serve, given.page, given.record)
        return 0
    return rig.print_for_each(given.only, lambda kind: table(kind, measure(kind, given)))


if __name__ == "__main__":
    sys.exit(main())
