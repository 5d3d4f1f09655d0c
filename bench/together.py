"""Measures the CPU time of inserting an alias, by how many are inserted together: `python -m bench.together`.

Batches of each size take turns in one process, each alias another user's, and the least of all turns counts,
as in bench.cpu.
"""

import argparse
import random
import secrets
import sys
import time
from collections.abc import Callable, Sequence

from bench import rig
from bench.cpu_time import backends, cpu_of

SIZES = (1, 2, 4, 8)


def inserter() -> Callable[[int], None]:
    """A function that inserts so many aliases in one transaction."""
    import django

    django.setup()
    from accounts.models import User
    from aliases.choosing import choose
    from aliases.issuing import NewAlias, insert_all
    from aliases.models import Alias

    domains = {user: choose(user).domain for user in User.objects.select_related("alias_preferences")}
    users = list(domains)

    def new(owner: User) -> NewAlias:
        domain = domains[owner]
        alias = Alias(
            address=f"{secrets.token_hex(8)}@{domain.name}",
            domain=domain,
            owner=owner,
            note="Made by the password manager for the sign-in page",
            hostname="www.github.com",
        )
        return NewAlias(owner, alias, wanted=None, is_chosen=False, idle_days=None, unused_days=None)

    return lambda size: insert_all([new(owner) for owner in random.sample(users, size)])


def measure(insert: Callable[[int], None], turns: int) -> dict[int, tuple[float, float]]:
    """The least CPU milliseconds of an alias, of this process and the database, by the size of a batch."""
    for size in SIZES:
        for _ in range(20):  # until statements and plans are kept
            insert(size)
    servers = backends()
    least = dict.fromkeys(SIZES, (float("inf"), float("inf")))
    for _turn in range(turns):
        for size in SIZES:
            before, begin = cpu_of(servers), time.process_time()
            for _ in range(max(SIZES) // size):
                insert(size)
            own, database = time.process_time() - begin, cpu_of(servers) - before
            each = (own / max(SIZES) * 1000, database / max(SIZES) * 1000)
            least[size] = min(least[size], each, key=sum)
    return least


def report(kind: str, least: dict[int, tuple[float, float]]) -> None:
    print("| database | together | web, ms | database, ms | both |\n|---|--:|--:|--:|--:|")
    for size, (web, database) in least.items():
        print(f"| {kind} | {size} | {web:.3f} | {database:.3f} | {web + database:.3f} |")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--database", choices=rig.DATABASES, default="postgresql")
    parser.add_argument("--aliases", type=int, default=20_000, help="present before (default 20000)")
    parser.add_argument("--turns", type=int, default=100, help="of each size (default 100)")
    given = parser.parse_args(arguments)
    return rig.measured_here(
        given.database, given.aliases, lambda _keys: report(given.database, measure(inserter(), given.turns))
    )


if __name__ == "__main__":
    sys.exit(main())
