"""Two of everything: databases, web hosts, mail hosts."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import pytest

from mail.postfix.fresh import fresh
from tests.conftest import missing
from tests.postfix.conftest import Running, run_postfix
from tests.rig import postgresql
from tests.rig.availability.databases import Original, Pair, original, pair
from tests.rig.availability.site import Site, running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of it needs PostgreSQL."""
    for item in items:
        if item.path.parent.name == "ha":
            item.add_marker(pytest.mark.postgresql)


@pytest.fixture(scope="session")
def filled_files() -> Iterator[Original]:
    """A filled database to copy."""
    try:
        with original() as made:
            yield made
    except postgresql.Missing as reason:
        missing(str(reason))


@pytest.fixture(scope="session")
def postfixes() -> Iterator[list[Running]]:
    """Two of Postfix."""
    generators = [run_postfix(fresh) for _ in range(2)]
    yield [next(each) for each in generators]
    for each in generators:
        next(each, None)


@pytest.fixture
def databases(filled_files: Original) -> Iterator[Pair]:
    """A primary and a standby, not started."""
    with pair(filled_files) as made:
        yield made


Start = Callable[..., AbstractContextManager[Site]]


@pytest.fixture
def start(databases: Pair, postfixes: list[Running]) -> Start:
    """Starts the hosts over databases that run, which `url` may reach in another way than directly."""

    @contextmanager
    def start(url: str | None = None) -> Iterator[Site]:
        asked = url or databases.url(target_session_attrs="read-write")
        with ExitStack() as stack:
            try:
                site = stack.enter_context(running(databases, asked, postfixes))
            except postgresql.Missing as reason:
                missing(str(reason))
            yield site

    return start
