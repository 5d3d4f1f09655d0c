"""The upgrade of two web hosts and two mail hosts while they work: `make upgrade FROM=REVISION`."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.conftest import missing
from tests.postfix.conftest import Running
from tests.rig import mta, postgresql
from tests.rig.availability.databases import Original, Pair, original, pair
from tests.rig.availability.proxies import pgbouncer
from tests.rig.availability.requests import THREADS, Load
from tests.rig.availability.site import Site, running, under_load
from tests.rig.faults import ROOT
from tests.rig.letters import wait_until

REVISION = os.environ.get("UPGRADE_FROM", "")
# Seconds for which the release before goes on over the new schema.
BESIDE = 5.0
# PgBouncer's connections to PostgreSQL: fewer than the processes have.
POOL = 8

pytestmark = pytest.mark.skipif(not REVISION, reason="`make upgrade FROM=REVISION`")


@pytest.fixture(scope="module")
def before() -> Iterator[Path]:
    """The files of the revision before."""
    with tempfile.TemporaryDirectory(prefix="anonmail-before-") as place:
        path = Path(place) / "anonmail"
        subprocess.run(["git", "worktree", "add", "--detach", path, REVISION], cwd=ROOT, check=True)
        try:
            yield path
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", path], cwd=ROOT, check=True)


@pytest.fixture(scope="module")
def filled(before: Path) -> Iterator[Original]:
    """A database that the revision before has made and filled."""
    try:
        with original(before) as made:
            yield made
    except postgresql.Missing as reason:
        missing(str(reason))


@contextmanager
def site_before(
    before: Path, filled: Original, postfixes: Sequence[Running], *, pools: bool = False
) -> Iterator[Site]:
    """A site that runs the revision before; `pools`: through PgBouncer in transaction mode."""
    with ExitStack() as stack:
        databases = stack.enter_context(pair(filled))
        databases.start(with_standby=False)
        url, more = databases.url(), {}
        try:
            if pools:
                place, port = stack.enter_context(mta.directory()), databases.primary.port
                pooled = pgbouncer(place, port, "anonmail", databases.password, POOL)
                url = databases.url(stack.enter_context(pooled))
                # The release before does not know a pooler when it sees one.
                more = {"DATABASE_PREPARE": "false"}
            # /health/ready came later.
            site = stack.enter_context(running(databases, url, postfixes, before, probe="/health", **more))
        except postgresql.Missing as reason:
            missing(str(reason))
        yield site


def migrating(site: Site) -> "subprocess.Popen[bytes]":
    """`manage.py prepare` of this revision on a host, while the release before goes on."""
    command = [sys.executable, "manage.py", "prepare", "--no-first-account"]
    return subprocess.Popen(command, cwd=ROOT, env=site.web[0].env)


def migrate(site: Site) -> None:
    assert migrating(site).wait(120) == 0
    time.sleep(BESIDE)


def upgrade(site: Site, load: Load) -> None:
    """As docs/high-availability.md says."""
    migrate(site)
    site.restart_in_turn()


def upgrade_after_a_killed_migration(site: Site, load: Load) -> None:
    """The first try dies in the middle of a migration, and nobody is there for a while."""
    with psycopg.connect(site.databases.database(site.databases.primary).url) as other:
        other.execute("LOCK TABLE django_migrations IN EXCLUSIVE MODE")
        process = migrating(site)
        # It has changed tables, and waits to write that down.
        wait_until(lambda: _waits(site.databases), 60, "a migration underway")
        process.send_signal(signal.SIGKILL)
        process.wait()
    time.sleep(BESIDE)
    upgrade(site, load)


def _waits(databases: Pair) -> bool:
    with psycopg.connect(databases.database(databases.primary).url) as connection:
        return bool(
            connection.execute(
                "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT INTO%'"
                " AND query LIKE '%django_migrations%'"
            ).fetchone()
        )


def upgrade_with_two_who_migrate(site: Site, load: Load) -> None:
    """Two hosts run the same step at the same moment."""
    for process in [migrating(site), migrating(site)]:
        assert process.wait(120) == 0
    site.restart_in_turn()


def upgrade_with_a_kill(site: Site, load: Load) -> None:
    """The first web host is new when the second one, which is not, dies."""
    migrate(site)
    for mail in site.mail:
        mail.upgrade(ROOT)
    site.restart_web(1)
    wait_until(lambda: site.state(1).startswith("UP"), 60, "the first web host's return")
    site.web[1].kill()
    time.sleep(BESIDE)
    site.restart_web(2)


@pytest.mark.parametrize(
    ("deed", "pools", "failing"),
    [
        (upgrade, False, 0),
        (upgrade, True, 0),
        (upgrade_after_a_killed_migration, False, 0),
        (upgrade_with_two_who_migrate, False, 0),
        # What was underway there.
        (upgrade_with_a_kill, False, THREADS),
    ],
    ids=["in order", "in order, behind PgBouncer", "migration killed", "two migrate", "web host killed"],
)
def test_an_upgrade_under_load_loses_nothing(
    before: Path,
    filled: Original,
    postfixes: list[Running],
    request: pytest.FixtureRequest,
    deed: Callable[[Site, Load], None],
    pools: bool,
    failing: int,
) -> None:
    name = f"upgrade from {REVISION} ({request.node.callspec.id})"
    with site_before(before, filled, postfixes, pools=pools) as site:
        outcome = under_load(
            site, lambda load, senders: deed(site, load), name, lambda: site.databases.primary
        )

    assert outcome.failed <= failing, outcome.failures
    assert not outcome.forgotten
    assert (outcome.lost, outcome.doubles) == (0, 0)
