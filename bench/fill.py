"""Fills an empty database for a measurement: domains, users with a token each, aliases.

`python -m bench.fill --aliases 100000 --users 200` prints the users' API keys as JSON.
"""

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

DOMAINS = 20
BATCH = 2000
# Aliases that are made one by one; the others are copied from these.
ORIGINALS = 20_000
# Of memory, for indexes that are made or grow.
CACHE_KIB = 2 * 1024 * 1024
# Who writes to the aliases, and is written to.
CORRESPONDENT = "eve@sender.test"


def fill(
    aliases: int,
    users: int,
    far: str = "",
    numbered: int = 0,
    domain_count: int = DOMAINS,
    grants: int = 0,
    hiding: int = 0,
) -> list[str]:
    """Make `users` users of 20 domains with `aliases` aliases among them; each user's API key.

    `domain_count`: domains of the installation. `grants`: domains to which each user has a grant.
    `far`: the domain of the users' destinations; "" for their own addresses. `numbered`: so many of
    the aliases are `1n@d0.example.com` and so on, as smtp-source -N writes its recipients. `hiding`: so many
    more at d1.example.com, whose replies hide their owners, with a contact each and keys that sign.
    """
    from allauth.account.models import EmailAddress
    from django.db import connection, transaction
    from django.utils import timezone

    from accounts.models import User
    from aliases.models import Alias, AliasDestination
    from aliases.naming import words
    from contacts.addresses import new_reverse_address
    from contacts.models import Contact
    from domains.dkim_keys import make_keys
    from domains.models import AccessGrant, DkimKey, Domain
    from tokens.models import Token

    people, keys, now = [], [], timezone.now()
    with transaction.atomic():
        domains = [
            Domain.objects.create(name=f"d{number}.example.com", anonmail_enabled=True)
            for number in range(domain_count)
        ]
        for number in range(users):
            domain = domains[number % min(DOMAINS, domain_count)]
            user = User.objects.create_user(f"user{number}@{domain.name}")
            _token, secret = Token.objects.issue(owner=user, name="bench")
            destination = EmailAddress.objects.get(user=user)
            if far:
                destination = EmailAddress.objects.create(
                    user=user, email=f"user{number}@{far}", verified=True
                )
            people.append((user, domain, destination))
            AccessGrant.objects.bulk_create(
                [AccessGrant(domain=granted, user=user) for granted in domains[-grants:] if grants]
            )
            keys.append(f"{user.email}:{secret}")
    listed = words()
    originals = min(aliases, max(ORIGINALS, numbered))
    for first in range(0, originals, BATCH):
        with transaction.atomic():
            links = []
            for number in range(first, min(first + BATCH, originals)):
                user, domain, destination = people[number % users]
                host = f"site{number // len(listed)}.test"
                moment = now - timedelta(minutes=number)
                local_part = f"site{number // len(listed)}.{listed[number % len(listed)]}"
                if number < numbered:
                    local_part, domain = f"{number + 1}n", domains[0]
                alias = Alias(
                    address=f"{local_part}@{domain.name}",
                    domain=domain,
                    owner=user,
                    note=f"Website: {host}",
                    hostname=host,
                    created=moment,
                    active_at=moment,
                )
                links.append(AliasDestination(alias=alias, address=destination))
            Alias.objects.bulk_create([link.alias for link in links])
            AliasDestination.objects.bulk_create(links)
    _copy(aliases, originals)
    if hiding:
        make_keys(domains[1])
        DkimKey.objects.update(published=now)
    for number in range(hiding):
        user, _domain, destination = people[number % users]
        alias = Alias.objects.create(
            address=f"{number + 1}n@{domains[1].name}", domain=domains[1], owner=user, hides_replies=True
        )
        AliasDestination.objects.create(alias=alias, address=destination)
        reverse_address = new_reverse_address(domains[1].name)
        Contact.objects.create(alias=alias, address=CORRESPONDENT, reverse_address=reverse_address)
    with connection.cursor() as cursor:
        # VACUUM too where there is one: autovacuum would do it in the middle of a measurement.
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")
    return keys


def _copy(aliases: int, originals: int) -> None:
    """Copy the aliases there are, with their destinations, until there are so many: each copy has a number in
    front of its name."""
    from django.core.management.color import no_style
    from django.db import connection, transaction

    from aliases.models import Alias, AliasDestination

    if aliases <= originals:
        return
    changes = {
        "id": "id + %s",
        "address": "%s || address",
        "uuid": "gen_random_uuid()" if connection.vendor == "postgresql" else "lower(hex(randomblob(16)))",
    }
    columns = [str(field.column) for field in Alias._meta.local_concrete_fields]
    values = [changes.get(column, column) for column in columns]
    table, links = Alias._meta.db_table, AliasDestination._meta.db_table
    copy_aliases = (
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)} FROM original WHERE id <= %s"  # noqa: S608
    )
    copy_links = (
        f"INSERT INTO {links} (alias_id, address_id) "  # noqa: S608
        "SELECT alias_id + %s, address_id FROM original_link WHERE alias_id <= %s"
    )
    keys = list(Alias.objects.order_by("pk").values_list("pk", flat=True))
    with connection.cursor() as cursor, _without_indexes(cursor, (table, links)):
        # Apart: in the growing tables, a planner with old figures would look through all copies for them.
        cursor.execute(f"CREATE TEMPORARY TABLE original AS SELECT * FROM {table}")  # noqa: S608
        cursor.execute(f"CREATE TEMPORARY TABLE original_link AS SELECT * FROM {links}")  # noqa: S608
        for number, done in enumerate(range(originals, aliases, originals), 1):
            last, shift = keys[min(originals, aliases - done) - 1], number * keys[-1]
            with transaction.atomic():
                cursor.execute(copy_aliases, [shift, f"c{number}.", last])
                cursor.execute(copy_links, [shift, last])
        for statement in connection.ops.sequence_reset_sql(no_style(), [Alias]):
            cursor.execute(statement)


@contextmanager
def _without_indexes(cursor: Any, tables: Sequence[str]) -> Iterator[None]:
    """PostgreSQL's tables without indexes but of the primary key, and without checks of foreign keys; SQLite,
    which has its unique ones in the table, with all of them in memory."""
    if cursor.db.vendor != "postgresql":
        cursor.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        cursor.execute("PRAGMA synchronous = OFF")
        yield
        return
    cursor.execute("SET synchronous_commit = off")
    cursor.execute(f"SET maintenance_work_mem = {CACHE_KIB // 4}")
    again = []
    for table in tables:
        cursor.execute(
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE conrelid = %s::regclass AND contype = 'u'",
            [table],
        )
        for name, definition in cursor.fetchall():
            cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
            again.append(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")
        cursor.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = %s AND indexname NOT LIKE %s",
            [table, "%_pkey"],
        )
        for name, definition in cursor.fetchall():
            cursor.execute(f"DROP INDEX {name}")
            again.append(definition)
    cursor.execute("SET session_replication_role = replica")
    yield
    cursor.execute("SET session_replication_role = origin")
    for statement in again:
        cursor.execute(statement)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--aliases", type=int, required=True)
    parser.add_argument("--users", type=int, required=True)
    parser.add_argument("--far", default="")
    parser.add_argument("--numbered", type=int, default=0)
    parser.add_argument("--domains", type=int, default=DOMAINS)
    parser.add_argument("--grants", type=int, default=0)
    parser.add_argument("--hiding", type=int, default=0)
    given = parser.parse_args(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "anonmail_site.settings")
    import django

    django.setup()
    made = fill(
        given.aliases, given.users, given.far, given.numbered, given.domains, given.grants, given.hiding
    )
    print(json.dumps(made))


if __name__ == "__main__":
    main()
