"""Measures the CPU time of the parts of a create, web and database: `python -m bench.create_parts`.

Each part runs for itself in one process, in turns, and the least of all turns counts, as in bench.cpu. What a
create takes beyond the parts is what joins them: the query, the body and the answer.

"Libpq alone", and "sqlite3 alone", is the least that a part's statements can take: they are prepared, their
values are written before, and nothing is made of their rows.
"""

import argparse
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from typing import Any

from bench import rig
from bench.cpu_time import backends, cpu_of
from bench.create import CREATE, NOTE
from bench.profile_create import asked, creator

Part = Callable[[], object]


def parts(keys: Sequence[str], runs: int) -> dict[str, Part]:
    """The parts by name, each to be run so many times; each call is one for the next user."""
    from django.core.wsgi import get_wsgi_application
    from django.db import connection

    application = get_wsgi_application()
    from aliases.issuing import insert_all, issue
    from tokens.authentication import parse_credentials
    from tokens.credentials import find_token

    credentials = [found for key in keys if (found := parse_credentials(key))]
    tokens = [token for each in credentials if (token := find_token(each, with_domain=True))]
    asking, owners = cycle(credentials), cycle([token.owner for token in tokens])
    create = creator(application, keys)

    def lend_connection() -> None:
        # As after a request and at the first statement of the next one.
        connection.close_if_unusable_or_obsolete()
        connection.ensure_connection()

    # Made before, as the bare ones are.
    made = iter([new_alias(next(owners)) for _ in range(runs)])

    def insert() -> None:
        insert_all([next(made)])

    alone = libpq_alone if connection.vendor == "postgresql" else sqlite_alone
    bare = alone(owners, asking, runs)
    return {
        "a connection from the pool": lend_connection,
        "a call that does nothing (OPTIONS)": lambda: asked(
            application, 204, REQUEST_METHOD="OPTIONS", PATH_INFO=CREATE.partition("?")[0]
        ),
        "the token, its owner and domain": lambda: find_token(next(asking), with_domain=True),
        "the transaction": insert,
        "naming, and the transaction": lambda: issue(
            owner=next(owners), hostname="www.github.com", note=NOTE, made_by_app=True
        ),
        "a create": create,
        **bare,
    }


def libpq_alone(owners: Iterator[Any], asking: Iterator[Any], runs: int) -> dict[str, Part]:
    """The statements of the token, and those of the transaction in one message and COMMIT, without us, Django
    and what psycopg makes of rows. So many `runs` can be made."""
    from django.db import DEFAULT_DB_ALIAS, connections
    from psycopg import pq
    from psycopg.adapt import PyFormat, Transformer

    from aliases import issuing
    from aliases.linking import linking_to_primary
    from core.db.postgresql.exchange import _numbered, _results

    own = connections.create_connection(DEFAULT_DB_ALIAS)
    own.ensure_connection()
    server = own.connection.pgconn
    transformer = Transformer(own.connection)
    names: dict[str, bytes] = {}

    def written(sql: str, params: Sequence[Any]) -> tuple[bytes, Any]:
        if sql not in names:
            names[sql] = b"bare_%d" % len(names)
            server.prepare(names[sql], _numbered(sql, len(params)))
        return names[sql], transformer.dump_sequence(params, [PyFormat.TEXT] * len(params))

    def transaction() -> list[tuple[bytes, Any]]:
        new = new_alias(next(owners))
        made = (
            issuing._counting_creations([new]),
            issuing._inserting([new.alias]),
            linking_to_primary([new.alias]),
        )
        return [written(each.sql, each.params) for each in made]

    tokens = cycle([written(*token_statement(next(asking))) for _ in range(rig.USERS)])
    # None is inserted twice.
    transactions = iter([transaction() for _ in range(runs)])

    def insert() -> None:
        server.enter_pipeline_mode()
        server.send_query_params(b"BEGIN", None)
        for name, values in next(transactions):
            server.send_query_prepared(name, values)
        server.pipeline_sync()
        for result in _results(server):
            assert result.status in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)
        server.exit_pipeline_mode()
        server.exec_(b"COMMIT")

    return {
        "the token, libpq alone": lambda: server.exec_prepared(*next(tokens)),
        "the transaction, libpq alone": insert,
    }


def sqlite_alone(owners: Iterator[Any], asking: Iterator[Any], runs: int) -> dict[str, Part]:
    """The same over SQLite: its driver without us and Django."""
    from django.db import DEFAULT_DB_ALIAS, connections

    from aliases import issuing
    from aliases.destinations import values_of
    from aliases.linking import _LINK

    own = connections.create_connection(DEFAULT_DB_ALIAS)
    own.ensure_connection()
    cursor, convert = own.connection.cursor(), own.create_cursor().convert_query
    # In place of a key that is not known before the alias is inserted.
    unknown = -1

    def transaction() -> list[tuple[str, list[Any]]]:
        new = new_alias(next(owners))
        values = values_of(new.owner, new.alias.address)
        made = (
            issuing._counting_creations([new]),
            issuing._inserting([new.alias]),
            _LINK.inserting([{"alias": unknown, **values}]),
        )
        return [(convert(each.sql), list(each.params)) for each in made]

    kept = [token_statement(next(asking)) for _ in range(rig.USERS)]
    tokens = cycle([(convert(sql), params) for sql, params in kept])
    transactions = iter([transaction() for _ in range(runs)])

    def insert() -> None:
        count, alias, (link, values) = next(transactions)
        cursor.execute("BEGIN IMMEDIATE")
        cursor.execute(*count).fetchall()
        ((_address, key, _is_heard),) = cursor.execute(*alias).fetchall()
        values[values.index(unknown)] = key
        cursor.execute(link, values).fetchall()
        own.connection.commit()

    return {
        "the token, sqlite3 alone": lambda: cursor.execute(*next(tokens)).fetchall(),
        "the transaction, sqlite3 alone": insert,
    }


def token_statement(credentials: Any) -> tuple[str, Any]:
    """The statement that reads a token, with its parameters."""
    from django.db import connection

    from tokens.credentials import find_token

    seen: list[Any] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        seen.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        find_token(credentials, with_domain=True)
    sql, params = seen[0]
    return sql, params


def new_alias(owner: Any) -> Any:
    """An alias of this owner, to be inserted."""
    from aliases.choosing import choose
    from aliases.issuing import NewAlias
    from aliases.models import Alias

    domain = choose(owner).domain
    address = f"{secrets.token_hex(8)}@{domain.name}"
    alias = Alias(address=address, domain=domain, owner=owner, note=NOTE, hostname="www.github.com")
    return NewAlias(owner, alias, wanted=None, is_chosen=False, idle_days=None, unused_days=None)


def measure(every: dict[str, Part], count: int, turns: int) -> dict[str, tuple[float, float]]:
    """The least CPU milliseconds of each part, of this process and the database."""
    for part in every.values():
        for _ in range(rig.USERS):  # until statements and plans are kept
            part()
    servers = backends()
    least = dict.fromkeys(every, (float("inf"), float("inf")))
    for _turn in range(turns):
        for name, part in every.items():
            before, begin = cpu_of(servers), time.process_time()
            for _ in range(count):
                part()
            own, database = time.process_time() - begin, cpu_of(servers) - before
            least[name] = min(least[name], (own / count * 1000, database / count * 1000), key=sum)
    return least


def report(kind: str, least: dict[str, tuple[float, float]]) -> None:
    print("| database | part | web, ms | database, ms | both |\n|---|---|--:|--:|--:|")
    for name, (web, database) in least.items():
        print(f"| {kind} | {name} | {web:.3f} | {database:.3f} | {web + database:.3f} |")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--database", choices=rig.DATABASES, default="postgresql")
    parser.add_argument("--aliases", type=int, default=20_000, help="present before (default 20000)")
    parser.add_argument("--count", type=int, default=25, help="runs of a turn (default 25)")
    parser.add_argument("--turns", type=int, default=100, help="of each part (default 100)")
    given = parser.parse_args(arguments)

    def measured(keys: list[str]) -> None:
        every = parts(keys, given.count * given.turns + rig.USERS)
        report(given.database, measure(every, given.count, given.turns))

    return rig.measured_here(given.database, given.aliases, measured)


if __name__ == "__main__":
    sys.exit(main())
