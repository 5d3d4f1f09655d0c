"""One of two is lost, while apps create aliases and senders bring letters: `make failover` runs all of it.

Nothing that was answered is forgotten, no letter is lost, and none arrives twice but where it is said.
"""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.ha.conftest import Start
from tests.rig import mta
from tests.rig.availability.databases import Pair
from tests.rig.availability.hosts import DRAIN_SECONDS
from tests.rig.availability.proxies import pgbouncer
from tests.rig.availability.requests import THREADS, Load
from tests.rig.availability.site import Outcome, under_load
from tests.rig.faults import FullDisk, full, small_disk
from tests.rig.letters import Senders, wait_until
from tests.rig.postgresql import Missing

# The suite proves that the rig works and that the commonest fault is survived; the rest takes minutes.
REHEARSAL = pytest.mark.skipif(not os.environ.get("FAULT_TABLE"), reason="part of `make failover`")
# Seconds until somebody, or something, has decided that the primary is dead.
DECISION = 3.0
# Seconds for which a host is away, or a database takes no changes.
AWAY = 6.0
# A kill can double what was underway in that instant on that host (MAIL_MESSAGES_AT_ONCE).
UNDERWAY_AT_ONCE = 20


def nothing_is_lost(outcome: Outcome, doubles: int = 0) -> None:
    assert outcome.lost == 0
    assert outcome.doubles <= doubles
    assert not outcome.forgotten


def answered_again(load: Load, since: float) -> None:
    """Wait until a request that was made since then has been answered well."""
    wait_until(lambda: any(moment > since for moment in load.answered), 60, "an answer after the fault")


def lose_the_primary(databases: Pair) -> None:
    """The primary ends in an instant, and the standby takes over."""
    databases.primary.kill()
    time.sleep(DECISION)
    databases.promote()


@pytest.mark.parametrize("kind", ["synchronous", pytest.param("asynchronous", marks=REHEARSAL)])
def test_the_primary_is_killed_and_the_standby_promoted(start: Start, databases: Pair, kind: str) -> None:
    def fault(load: Load, senders: Senders) -> None:
        lose_the_primary(databases)
        answered_again(load, time.monotonic())

    databases.start(is_synchronous=kind == "synchronous")
    with start() as site:
        name = f"primary killed, standby promoted ({kind})"
        outcome = under_load(site, fault, name, lambda: databases.standby or databases.primary)

        # What was sent and not written down on the survivor is sent again.
        assert outcome.lost == 0
        assert outcome.doubles <= UNDERWAY_AT_ONCE * len(site.mail)
        assert kind == "asynchronous" or not outcome.forgotten


@REHEARSAL
def test_the_primary_is_killed_behind_pgbouncer(start: Start, databases: Pair) -> None:
    databases.start(is_synchronous=True)
    assert databases.standby is not None
    primary, standby = databases.primary.port, databases.standby.port

    def bouncer(name: str, server: int, port: int | None = None) -> AbstractContextManager[int]:
        return pgbouncer(place / name, server, "anonmail", databases.password, 20, port)

    def fault(load: Load, senders: Senders) -> None:
        # One that goes on without its server goes on announcing that the server takes changes.
        behind_primary.close()
        lose_the_primary(databases)
        # This one would go on announcing that its server takes none.
        behind_standby.close()
        behind_standby.enter_context(bouncer("standby", standby, ports[1]))
        answered_again(load, time.monotonic())

    with ExitStack() as stack:
        try:
            place = stack.enter_context(mta.directory())
            behind_primary, behind_standby = (stack.enter_context(ExitStack()) for _ in range(2))
            ports = [
                behind_primary.enter_context(bouncer("primary", primary)),
                behind_standby.enter_context(bouncer("standby", standby)),
            ]
        except Missing as reason:
            missing(str(reason))
        site = stack.enter_context(start(databases.url(*ports, target_session_attrs="read-write")))
        name = "primary killed, standby promoted, behind PgBouncer (synchronous)"
        outcome = under_load(site, fault, name, lambda: databases.standby or databases.primary)

        nothing_is_lost(outcome, doubles=UNDERWAY_AT_ONCE * len(site.mail))


@REHEARSAL
@pytest.mark.parametrize("kind", ["synchronous", "asynchronous"])
def test_the_old_primary_comes_back_as_if_nothing_had_happened(
    start: Start, databases: Pair, kind: str
) -> None:
    written: list[int] = []

    def fault(load: Load, senders: Senders) -> None:
        lose_the_primary(databases)
        answered_again(load, time.monotonic())
        databases.primary.start()
        # New connections reach whichever server is named first and takes changes.
        # It may never be ready, because commits there wait for a standby.
        site.web[0].end()
        site.web[0].start()
        time.sleep(AWAY)
        assert databases.standby is not None
        alone = databases.addresses(databases.primary) - databases.addresses(databases.standby)
        written.append(len(alone))
        databases.primary.kill()
        answered_again(load, time.monotonic())

    databases.start(is_synchronous=kind == "synchronous")
    with start() as site:
        name = f"old primary back, not fenced ({kind})"
        outcome = under_load(site, fault, name, lambda: databases.standby or databases.primary)

        print(f"{written[0]} aliases are in the old primary alone")
        assert outcome.lost == 0
        assert kind == "asynchronous" or not outcome.forgotten


@REHEARSAL
@pytest.mark.parametrize("attributes", [{}, {"target_session_attrs": "read-write"}])
def test_the_database_takes_no_changes(start: Start, databases: Pair, attributes: dict[str, str]) -> None:
    def fault(load: Load, senders: Senders) -> None:
        with databases.database(databases.primary).takes_no_changes():
            time.sleep(AWAY)
        answered_again(load, time.monotonic())

    databases.start()
    with start(databases.url(databases.primary.port, **attributes)) as site:
        name = f"database read-only ({'target_session_attrs=read-write' if attributes else 'plain URL'})"
        nothing_is_lost(under_load(site, fault, name, lambda: databases.primary))


@pytest.fixture
def disk() -> Iterator[Path]:
    """A file system of its own, with room for a database."""
    try:
        with small_disk(64) as path:
            yield path
    except FullDisk as reason:
        pytest.skip(str(reason))


@REHEARSAL
def test_the_disk_of_the_database_is_full(start: Start, databases: Pair, disk: Path) -> None:
    def fault(load: Load, senders: Senders) -> None:
        with full(disk):
            time.sleep(AWAY)
        answered_again(load, time.monotonic())

    # A standby on this machine would need the same directory.
    databases.start(with_standby=False)
    database = databases.database(databases.primary)
    database.move_to(disk)
    with start() as site:
        outcome = under_load(site, fault, "disk of the database full", lambda: databases.primary)
    database.leave()

    nothing_is_lost(outcome)


@REHEARSAL
def test_a_web_host_is_killed(start: Start, databases: Pair) -> None:
    def fault(load: Load, senders: Senders) -> None:
        site.web[0].kill()
        time.sleep(AWAY)
        site.web[0].start()
        site.web[0].wait()
        answered_again(load, time.monotonic())

    databases.start()
    with start() as site:
        outcome = under_load(site, fault, "web host killed", lambda: databases.primary)

        nothing_is_lost(outcome)
        # What was underway there.
        assert outcome.failed <= THREADS


@REHEARSAL
def test_anonmail_is_killed_on_a_mail_host(start: Start, databases: Pair) -> None:
    def fault(load: Load, senders: Senders) -> None:
        site.mail[0].anonmail.kill()
        time.sleep(AWAY)
        site.mail[0].anonmail.start()

    databases.start()
    with start() as site:
        outcome = under_load(site, fault, "mail host's Anonmail killed", lambda: databases.primary)

        nothing_is_lost(outcome, doubles=UNDERWAY_AT_ONCE)
        assert outcome.failed == 0


@REHEARSAL
def test_postfix_is_killed_on_a_mail_host(start: Start, databases: Pair) -> None:
    def fault(load: Load, senders: Senders) -> None:
        site.mail[0].kill_postfix()
        time.sleep(AWAY)
        site.mail[0].start_postfix()

    databases.start()
    with start() as site:
        outcome = under_load(site, fault, "mail host's Postfix killed", lambda: databases.primary)

        # What it had handed over, and not written down, it hands over again.
        nothing_is_lost(outcome, doubles=UNDERWAY_AT_ONCE)
        assert outcome.failed == 0


@REHEARSAL
def test_everything_is_restarted_in_turn(start: Start, databases: Pair) -> None:
    def fault(load: Load, senders: Senders) -> None:
        site.restart_in_turn()

    databases.start()
    with start() as site:
        outcome = under_load(site, fault, "rolling restart", lambda: databases.primary)

        nothing_is_lost(outcome)
        assert outcome.failed == 0


@REHEARSAL
def test_the_web_hosts_are_reloaded_in_turn(start: Start, databases: Pair) -> None:
    def fault(load: Load, senders: Senders) -> None:
        for web in site.web:
            web.reload()

    databases.start()
    with start() as site:
        outcome = under_load(site, fault, "rolling reload", lambda: databases.primary)

        nothing_is_lost(outcome)
        assert outcome.failed == 0


@REHEARSAL
def test_both_web_hosts_are_restarted_within_a_second(start: Start, databases: Pair) -> None:
    """No way to restart: both still serve for a while, and then nobody does. Nothing is forgotten."""

    def fault(load: Load, senders: Senders) -> None:
        with ThreadPoolExecutor() as together:
            first = together.submit(site.restart_web, 1)
            time.sleep(0.5)
            site.restart_web(2)
            first.result()

    databases.start()
    with start() as site:
        outcome = under_load(site, fault, "both web hosts restarted at once", lambda: databases.primary)

        nothing_is_lost(outcome)


@REHEARSAL
def test_a_web_host_is_killed_while_the_other_one_restarts(start: Start, databases: Pair) -> None:
    """That one is all that is left: it still serves for a while, and then its socket keeps whoever comes."""

    def fault(load: Load, senders: Senders) -> None:
        with ThreadPoolExecutor() as together:
            restart = together.submit(site.restart_web, 2)
            time.sleep(DRAIN_SECONDS / 2)
            site.web[0].kill()
            restart.result()
        answered_again(load, time.monotonic())
        site.web[0].start()
        site.web[0].wait()

    databases.start()
    with start() as site:
        name = "web host killed while the other one restarts"
        outcome = under_load(site, fault, name, lambda: databases.primary)

        # Whoever came while none was there was told so.
        nothing_is_lost(outcome)
