"""The cast: alice owns example.com's aliases, bob has a grant, mallory tries, root rules."""

import asyncio
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from django.core.cache import cache
from django.db import OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.sqlite3.base import DatabaseWrapper, SQLiteCursorWrapper
from django.test import Client
from django.utils import translation
from hypothesis import HealthCheck, settings
from rest_framework.test import APIClient

from accounts.models import User
from aliases.models import AliasPreferences
from core import sparing_logs
from core.db.sqlite.base import DatabaseWrapper as SQLiteWrapper
from domains.models import Domain
from mail.delivery.resolve import our_domains
from tests.rig.openpgp import GnuPG, gnupg
from tokens.models import Token
from tokens.scopes import EVERYTHING

TESTS = Path(__file__).parent
CI = os.environ.get("CI") == "true"
# What the fixture `api` is.
Api = Callable[[User], APIClient]
# How long an example takes says how busy the machine is. In CI the examples are the same each time.
settings.register_profile(
    "tests", deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None, derandomize=CI
)
settings.load_profile("tests")


def missing(what: str) -> None:
    """Skip the test for want of `what`; in CI, where everything is installed, fail it."""
    if CI:
        pytest.fail(f"{what} is missing, and CI must have it", pytrace=False)
    pytest.skip(f"{what} is missing")


@pytest.fixture(autouse=True)
def _marks(request: pytest.FixtureRequest) -> None:
    """Tests of PostgreSQL's locks run there; the SQLite round names them as skipped."""
    if request.node.get_closest_marker("postgresql") and connection.vendor != "postgresql":
        pytest.skip("runs in the PostgreSQL round")
    if request.node.get_closest_marker("sqlite") and connection.vendor != "sqlite":
        pytest.skip("runs in the SQLite round")


@pytest.fixture(autouse=True, scope="session")
def _umask() -> Iterator[None]:
    """What the tests write is for Postfix's users too; the site's own processes are private."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(autouse=True)
def _umask_again(_umask: None) -> Iterator[None]:
    """Some tests import or run in here what makes a process private."""
    yield
    os.umask(0o022)


# What looks at words, pages and processes, and takes its time; or brings a database of its own.
ONE_ROUND = {
    "aliases/test_local_parts.py",
    "aliases/test_naming.py",
    "anonmail_site/test_checks.py",
    "anonmail_site/test_containers.py",
    "anonmail_site/test_environment.py",
    "anonmail_site/test_kubernetes.py",
    "anonmail_site/test_memory.py",
    "anonmail_site/test_prepare.py",
    "anonmail_site/test_slow_clients.py",
    "anonmail_site/test_start.py",
    "anonmail_site/test_supervisor.py",
    "anonmail_site/test_supervisor_room.py",
    "anonmail_site/test_systemd.py",
    "anonmail_site/test_terminals.py",
    "anonmail_site/test_translation.py",
    "anonmail_site/test_wheel.py",
    "api/test_schema.py",
    "core/test_logs.py",
    "e2e/test_appearance.py",
    "e2e/test_installing.py",
    "e2e/test_journeys.py",
    "e2e/test_keys.py",
    "e2e/test_list.py",
    "e2e/test_openid.py",
    "e2e/test_requests.py",
    "e2e/test_scenes.py",
    "e2e/test_steps.py",
    "e2e/test_without_scripts.py",
    "mail/server/test_milter_protocol.py",
    "mail/server/test_processes.py",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that have little to do with the kind of database run in one round, so that both stay short."""
    for item in items:
        path = item.path.relative_to(TESTS)
        if path.parent.name in {"clients", "formats"} or str(path) in ONE_ROUND:
            item.add_marker(pytest.mark.sqlite)


@pytest.fixture(autouse=True, scope="session")
def _no_connection_left(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """PostgreSQL drops no database that a thread of some test is still connected to."""
    yield
    if connection.vendor == "postgresql":
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


@pytest.fixture(autouse=True, scope="session")
def _threads_close_their_connections() -> Iterator[None]:
    """Django never closes a connection to SQLite in memory, because the database goes with the last one.

    That is the main thread's. Python 3.13 warns of each other one that nobody closes.
    """
    main = threading.get_ident()

    def close(self: DatabaseWrapper) -> None:
        if self._thread_ident == threading.get_ident() != main:
            BaseDatabaseWrapper.close(self)
        else:
            original(self)

    original = DatabaseWrapper.close
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatabaseWrapper, "close", close)
        yield


@pytest.fixture(autouse=True, scope="session")
def _tables_in_memory_are_waited_for() -> Iterator[None]:
    """SQLite in memory refuses a table at once while another thread writes to it (SQLITE_LOCKED, for which no
    timeout counts), as a door may still do after its answer. With a file, as outside of tests, it waits."""

    def waiting(original: Callable[..., Any]) -> Callable[..., Any]:
        def execute(*statement: Any) -> Any:
            # Not by a clock: a test may have stopped it.
            for _ in range(1000):
                try:
                    return original(*statement)
                except (sqlite3.OperationalError, OperationalError) as error:
                    own: Any = error.__cause__ or error
                    if not getattr(own, "sqlite_errorname", "").startswith("SQLITE_LOCKED"):
                        raise
                time.sleep(0.01)
            return original(*statement)

        return execute

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SQLiteCursorWrapper, "execute", waiting(SQLiteCursorWrapper.execute))
        patch.setattr(SQLiteWrapper, "_run_directly", waiting(SQLiteWrapper._run_directly))
        yield


@pytest.fixture(autouse=True)
def _no_loop_of_other_tests(request: pytest.FixtureRequest) -> Iterator[None]:
    """Playwright's loop counts as running in this thread from its first test on; asyncio.run would refuse."""
    if request.node.path.parent.name == "e2e":
        yield
        return
    running = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    yield
    asyncio._set_running_loop(running)


@pytest.fixture(autouse=True)
def _no_memory_of_other_tests() -> None:
    """The sign-in pages' rate limits count in the cache, which a test's roll-back does not reach."""
    cache.clear()
    sparing_logs.forget()
    our_domains.forget()
    # A request leaves its language with the thread.
    translation.deactivate()


@pytest.fixture(autouse=True)
def _nothing_is_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done after an answer is done before it here: other threads see no rows of a test's."""
    monkeypatch.setattr("core.after_answer.start", lambda run: run())
    monkeypatch.setattr("core.late_writes.start", lambda write: write())
    # The test's connection, in a transaction that PostgreSQL would lose with it.
    monkeypatch.setattr("core.after_answer.close_old_connections", lambda: None)


@pytest.fixture
def example_com(db: None) -> Domain:
    return Domain.objects.create(name="example.com", anonmail_enabled=True)


@pytest.fixture
def other_org(db: None) -> Domain:
    """A domain with Anonmail on that is nobody's own."""
    return Domain.objects.create(name="other.org", anonmail_enabled=True)


@pytest.fixture
def alice(example_com: Domain) -> User:
    return User.objects.create_user("alice@example.com", "alice-password-1")


def forwards_as_it_came(user: User) -> User:
    """Somebody whose new aliases forward as it came: mail then arrives octet for octet."""
    AliasPreferences.objects.create(user=user, hides_replies=False)
    return user


@pytest.fixture
def mallory(db: None) -> User:
    """Has an account, and no right anywhere."""
    return User.objects.create_user("mallory@evil.test", "mallory-password-1")


@pytest.fixture
def root(db: None) -> User:
    return User.objects.create_superuser("root@admin.test", "root-password-1")


@pytest.fixture
def boss(root: User, client: Client) -> Client:
    """A browser in which the global admin is signed in."""
    client.post("/accounts/login/", {"login": root.email, "password": "root-password-1"})
    mail.outbox.clear()
    return client


@pytest.fixture
def browser(alice: User, client: Client) -> Client:
    """Alice's, signed in a moment ago."""
    client.post("/accounts/login/", {"login": alice.email, "password": "alice-password-1"})
    return client


@pytest.fixture
def api() -> Api:
    """A client of the API that sends a fresh token of the given user's, good for everything."""

    def client_for(user: User) -> APIClient:
        _token, secret = Token.objects.issue(owner=user, name="tests", scopes=EVERYTHING)
        client = APIClient(HTTP_AUTHENTICATION=f"{user.email}:{secret}")
        client.raise_request_exception = False
        return client

    return client_for


@pytest.fixture(scope="session")
def gpg() -> Iterator[GnuPG]:
    """GnuPG with keys of the tests' own making."""
    if shutil.which("gpg") is None:
        missing("gpg")
    with gnupg() as made:
        yield made
