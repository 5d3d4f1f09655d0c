"""A real Postfix for the session, Anonmail's doors and a far end for each test."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.test.utils import override_settings
from pytest_django import Settings

from accounts.models import User
from mail.delivery.next_hop import SmtpHop
from mail.postfix import parameters
from mail.postfix.files import main_cf, master_cf
from mail.postfix.fresh import fresh
from mail.postfix.parameters import Configuration
from mail.server.domain_table import DomainTable
from mail.server.listening import endpoints
from tests.conftest import forwards_as_it_came, missing
from tests.rig import mta, postgresql
from tests.rig.faults import Database, File, Rig, filled_cluster, filled_file, running
from tests.rig.letters import Letter, Senders, letters_to
from tests.rig.mail_doors import running_doors_at
from tests.rig.mta import Ports, Postfix, Sink


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A real Postfix takes its time: of these, both rounds run the scenarios, and one of them the rest."""
    for item in items:
        if item.path.parent.name == "postfix" and item.path.name != "test_scenarios.py":
            item.add_marker(pytest.mark.postgresql)


@dataclass
class Site:
    """Postfix with Anonmail behind it, and what arrives at the far end."""

    postfix: Postfix
    ports: Ports
    sink: Sink


Running = tuple[Postfix, Ports]


# Postfix looks only every ten seconds whether the table has changed: all domains of the tests are in it.
DOMAINS = ("example.com", "xn--bcher-kva.example")


def write_domains(directory: Path, ports: Ports) -> None:
    """Postfix's table of our domains, as the mail server writes it."""
    with pytest.MonkeyPatch.context() as patch, override_settings(**ports.settings()):
        patch.setenv("MAIL_CONFIG", str(directory))
        DomainTable(ports.shared).update(dict.fromkeys(DOMAINS, False))


@contextmanager
def queue_directory(place: Path) -> Iterator[None]:
    """Let `postfix_config` take this for Postfix's queue directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parameters, "QUEUE_DIRECTORY", str(place))
        yield


def run_postfix(make: Callable[[], Configuration], **more: str) -> Iterator[Running]:
    """A Postfix with that configuration, until the generator ends."""
    with ExitStack() as stack:
        directory = stack.enter_context(mta.directory())
        queue = Path(more.get("queue_directory", directory / "queue"))
        try:
            ports = Ports.free(queue)
            with override_settings(**ports.settings()), queue_directory(queue):
                configuration = make()
            reinjection = f"127.0.0.1:{ports.reinjection}"
            services = master_cf(configuration).replace(configuration.reinjection.listen, reinjection)
            mta.install(directory, main_cf(configuration), services, ports, more, {})
            write_domains(directory, ports)
        except mta.Missing as reason:
            missing(str(reason))
        yield stack.enter_context(mta.started(directory, ports)), ports


@pytest.fixture(scope="session")
def fresh_postfix() -> Iterator[Running]:
    """A Postfix that is Anonmail's alone, as `postfix_config fresh` writes it."""
    yield from run_postfix(fresh)


@pytest.fixture(scope="session")
def milter_postfix() -> Iterator[Running]:
    """The same with Anonmail as its milter."""
    yield from run_postfix(lambda: fresh(with_milter=True))


@pytest.fixture(params=["fresh_postfix", "milter_postfix"])
def site(request: pytest.FixtureRequest, transactional_db: None, settings: Settings) -> Iterator[Site]:
    """Everything running, and nothing in any queue."""
    postfix, ports = request.getfixturevalue(request.param)
    yield from run_site(postfix, ports, settings)


@pytest.fixture(params=["fresh_postfix", "milter_postfix"])
def direct_site(request: pytest.FixtureRequest, transactional_db: None, settings: Settings) -> Iterator[Site]:
    """The same, but what comes over LMTP, Anonmail hands on to the far end itself: it hears a refusal."""
    postfix, ports = request.getfixturevalue(request.param)
    yield from run_site(postfix, ports, settings, next_hop=ports.sink)


@pytest.fixture
def fresh_site(fresh_postfix: Running, transactional_db: None, settings: Settings) -> Iterator[Site]:
    """Anonmail behind Postfix's queue alone."""
    yield from run_site(*fresh_postfix, settings)


# For messages to one alias with one destination: these a milter leaves to Postfix.
ONLY_LMTP = pytest.mark.parametrize("direct_site", ["fresh_postfix"], indirect=True)


def run_site(
    postfix: Postfix, ports: Ports, settings: Settings, next_hop: int | None = None
) -> Iterator[Site]:
    """The doors and the far end beside a running Postfix; its re-injection port is the next hop."""
    for name, value in ports.settings().items():
        setattr(settings, name, value)
    settings.MAIL_POSTMASTER = "boss@boss.test"
    settings.MAIL_UNKNOWN_PER_CLIENT = settings.MAIL_UNKNOWN_PER_DAY = 0
    sink = Sink()
    hop = SmtpHop("127.0.0.1", next_hop or ports.reinjection, hostname="mx.example.com")
    with mta.far_end(sink, ports.sink), running_doors_at(hop, endpoints()):
        yield Site(postfix, ports, sink)
    postfix.empty()


@pytest.fixture
def bob(example_com: object) -> User:
    """Another owner in alice's domain."""
    return forwards_as_it_came(User.objects.create_user("bob@example.com", "bob-password-12"))


@pytest.fixture
def alice(alice: User) -> User:
    return forwards_as_it_came(alice)


Start = Callable[..., AbstractContextManager[Rig]]


@pytest.fixture(scope="session")
def new_database() -> Iterator[Callable[[], Database]]:
    """Makes a filled database of this module's own, whose server may be stopped."""
    try:
        with filled_cluster() as copy:
            yield copy
    except postgresql.Missing as reason:
        missing(str(reason))


@pytest.fixture(scope="session")
def new_file() -> Iterator[Callable[[Path], File]]:
    """Makes a filled SQLite database in the directory that it is given."""
    with filled_file() as copy:
        yield copy


@pytest.fixture(params=["lmtp", "milter"])
def start(request: pytest.FixtureRequest) -> Start:
    """Starts everything, in each of the two designs, over a new database of PostgreSQL's where none is given;
    `{sink}` in a setting is the far end's port."""
    name = {"lmtp": "fresh_postfix", "milter": "milter_postfix"}[request.param]
    # Asked for here and not by name: a round that skips these tests starts none of it.
    new_database: Callable[[], Database] = request.getfixturevalue("new_database")
    postfix, ports = request.getfixturevalue(name)

    def start(database: Database | File | None = None, **settings: str) -> AbstractContextManager[Rig]:
        own = {key: value.format(sink=ports.sink) for key, value in settings.items()}
        return running(request.param, postfix, ports, database or new_database(), **own)

    return start


Send = Callable[..., Senders]


@pytest.fixture
def senders() -> Iterator[Send]:
    """Starts sending letters: to the aliases, or others to those who have these destinations."""
    made: list[Senders] = []

    def start(
        rig: Rig,
        letters: list[Letter] | None = None,
        destinations: Mapping[str, list[str]] | None = None,
        portions: int = 1,
    ) -> Senders:
        aliases = rig.database.aliases
        letters = letters or letters_to(list(aliases))
        made.append(Senders(rig.ports.smtp, letters, destinations or aliases, portions=portions))
        made[-1].start()
        return made[-1]

    yield start
    for each in made:
        each.stop()
