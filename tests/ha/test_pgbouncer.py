"""PgBouncer in transaction mode, between Anonmail and PostgreSQL: it works as it comes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.ha.conftest import Start
from tests.rig import mta
from tests.rig.availability.databases import Pair
from tests.rig.availability.proxies import pgbouncer
from tests.rig.availability.requests import Load
from tests.rig.availability.site import under_load
from tests.rig.faults import environment, manage
from tests.rig.letters import Senders, wait_until
from tests.rig.postgresql import Missing

# Fewer than the processes have connections, so that these share them.
POOL = 4
REQUESTS = 300


@pytest.fixture
def behind(databases: Pair) -> Iterator[str]:
    """A DATABASE_URL that leads through PgBouncer to the primary, which is started."""
    databases.start(with_standby=False)
    try:
        with (
            mta.directory() as place,
            pgbouncer(place, databases.primary.port, "anonmail", databases.password, POOL) as port,
        ):
            yield databases.url(port)
    except Missing as reason:
        missing(str(reason))


def test_nothing_fails_behind_it(start: Start, databases: Pair, behind: str) -> None:
    def work(load: Load, senders: Senders) -> None:
        wait_until(lambda: load.asked >= REQUESTS, 120, "requests")

    with start(behind) as site:
        outcome = under_load(site, work, "PgBouncer in transaction mode", lambda: databases.primary)

    assert outcome.failures == {}
    assert not outcome.forgotten
    assert (outcome.lost, outcome.doubles) == (0, 0)


def run(behind: str, place: Path, script: str) -> list[str]:
    """The words that a script prints in a process of ours; `other` in it is somebody else's connection."""
    begin = f"import psycopg\nother = psycopg.connect({behind!r})\nfrom aliases.models import Alias\n"
    env = environment(behind, place)
    return manage(env, "shell", "--no-imports", "--command", begin + script).split()


def test_rows_that_are_read_little_by_little_arrive(databases: Pair, behind: str, tmp_path: Path) -> None:
    script = """
rows = Alias.objects.order_by("pk").iterator(chunk_size=2)
found = [next(rows)]
# Takes the server's process that has answered until now.
other.execute("SELECT 1")
found += rows
print(len(found))
"""

    assert run(behind, tmp_path, script) == [str(len(databases.aliases))]


def test_what_it_hands_to_others_has_no_settings_of_ours(behind: str, tmp_path: Path) -> None:
    script = """
Alias.objects.count()
print(*other.execute("SHOW plan_cache_mode").fetchone())
"""

    assert run(behind, tmp_path, script) == ["auto"]
