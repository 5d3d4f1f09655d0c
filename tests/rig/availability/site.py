"""A site on two web hosts, two mail hosts and two databases, under load, and what a fault did to it."""

import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.rig import mta
from tests.rig.availability.databases import Pair
from tests.rig.availability.hosts import MailHost, WebHost
from tests.rig.availability.proxies import haproxy, state, tell_haproxy
from tests.rig.availability.requests import Load, longest_pause
from tests.rig.faults import ROOT, environment, report
from tests.rig.letters import Senders, account, letters_to, wait_until
from tests.rig.mta import Ports, Postfix, Sink
from tests.rig.postgresql import Server

# Letters, and the seconds between two of a connection: a fault of ten seconds happens while they come in. The
# suite's faults are shorter.
LETTERS = 400 if os.environ.get("FAULT_TABLE") else 160
LETTER_PAUSE = 0.3
# So many requests and letters have been answered when the fault begins.
UNDERWAY = 40
# Seconds that requests have to end on a web host that was taken out, and that HAProxy has to notice that one
# is back (docs/high-availability.md).
DRAINING, NOTICING = 2.0, 5.0
# Seconds until everything has arrived.
DRAINED = 300.0
NO_LIMIT = "1000000000"


@dataclass
class Site:
    """Everything running."""

    databases: Pair
    web: list[WebHost]
    mail: list[MailHost]
    sink: Sink
    proxy: int
    # Where HAProxy listens for its administrator
    place: Path

    def load(self) -> Load:
        """Requests to the proxy, not sent yet."""
        return Load(self.proxy, self.databases.api_key)

    def senders(self) -> Senders:
        """Letters to whichever mail host takes them, not sent yet."""
        first, *others = [host.ports.smtp for host in self.mail]
        aliases = self.databases.aliases
        letters = letters_to(list(aliases), LETTERS)
        return Senders(first, letters, aliases, others=others, pause=LETTER_PAUSE)

    def restart_in_turn(self, root: Path = ROOT) -> None:
        """Restart Anonmail on each host, in the order of docs/high-availability.md, over these files."""
        for mail in self.mail:
            mail.upgrade(root)
        for number in range(1, len(self.web) + 1):
            self.restart_web(number, root)
            time.sleep(NOTICING)

    def restart_web(self, number: int, root: Path = ROOT) -> None:
        """Restart the web host of this number over these files, and wait until it serves."""
        web = self.web[number - 1]
        is_taken_out = not web.drains_itself
        if is_taken_out:
            tell_haproxy(self.place, number, "drain")
            time.sleep(DRAINING)
        web.end()
        web.root = root
        web.start()
        web.wait()
        if is_taken_out:
            tell_haproxy(self.place, number, "ready")

    def state(self, number: int) -> str:
        """What HAProxy takes the web host of this number for: UP, NOLB or DOWN."""
        return state(self.place, number)

    def wait_until_delivered(self) -> None:
        """Wait until no Postfix has anything left."""
        for host in self.mail:
            host.postfix.wait_until_idle(DRAINED, flush=True)
        time.sleep(0.3)


@dataclass
class Outcome:
    """What happened to requests and letters."""

    asked: int
    failures: Mapping[str, int]
    pause: float
    # Aliases that were given out, and that no database knows.
    forgotten: set[str]
    letters: int
    lost: int
    doubles: int
    letters_pause: float

    @property
    def failed(self) -> int:
        return sum(self.failures.values())


def under_load(
    site: Site, fault: Callable[[Load, Senders], None], name: str, survivor: Callable[[], Server]
) -> Outcome:
    """What came of the requests and letters during the fault.

    `fault` returns when it is over; `survivor` is asked then for the server whose database counts.
    """
    load, senders = site.load(), site.senders()
    site.sink.arrived.clear()
    load.start()
    senders.start()
    try:
        senders.wait_for(UNDERWAY, 60)
        wait_until(lambda: len(load.answered) >= UNDERWAY, 60, "requests answered")
        fault(load, senders)
        answered = len(load.answered)
        wait_until(lambda: len(load.answered) >= answered + UNDERWAY, 60, "requests answered again")
        senders.join(DRAINED)
    finally:
        load.stop()
        senders.stop()
    site.wait_until_delivered()
    arrived = [(each.recipient, each.content) for each in site.sink.arrived]
    found = account(senders.letters, senders.destinations, arrived)
    assert not found.damaged
    known = site.databases.addresses(survivor())
    assert len(set(load.created)) == len(load.created), "an address was given out twice"
    outcome = Outcome(
        load.asked,
        dict(load.failures),
        load.longest_pause(),
        set(load.created) - known,
        found.sent,
        len(found.lost),
        found.doubles,
        longest_pause(senders.accepted),
    )
    report(
        {
            "fault": name,
            "requests failed": f"{outcome.failed} of {outcome.asked} {outcome.failures or ''}".strip(),
            "longest pause": f"{outcome.pause:.1f} s",
            "aliases forgotten": len(outcome.forgotten),
            "letters lost": f"{outcome.lost} of {outcome.letters}",
            "doubled": outcome.doubles,
            "longest pause of mail": f"{outcome.letters_pause:.1f} s",
        }
    )
    return outcome


@contextmanager
def running(
    databases: Pair,
    url: str,
    postfixes: Sequence[tuple[Postfix, Ports]],
    root: Path = ROOT,
    probe: str = "",
    **more: str,
) -> Iterator[Site]:
    """Two web hosts behind HAProxy and a mail host for each Postfix, over databases that run.

    `root`: the files of the revision that runs on all of them. `probe`: what HAProxy asks them, if not what
    deploy/haproxy.cfg says. `more`: settings of all hosts. Raises tests.rig.postgresql.Missing.
    """
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="anonmail-site-")))
        place.chmod(0o755)
        env = environment(
            url,
            place,
            SECRET_KEY=secrets.token_hex(32),
            ALIASES_PER_HOUR=NO_LIMIT,
            ALIASES_PER_DAY=NO_LIMIT,
            MAIL_UNKNOWN_PER_CLIENT="0",
            **more,
        )
        sink = Sink()
        web = [WebHost(env, place / f"web{number}.log", root) for number in (1, 2)]
        mail = [
            MailHost(postfix, ports, env, place / f"mail{number}.log", root)
            for number, (postfix, ports) in enumerate(postfixes, start=1)
        ]
        for host in web:
            stack.callback(host.kill)
            host.start()
        for each in mail:
            stack.callback(each.postfix.empty)
            stack.enter_context(mta.far_end(sink, each.ports.sink))
            stack.callback(each.end)
        with ThreadPoolExecutor() as together:
            list(together.map(lambda each: each.anonmail.start(), mail))
        for host in web:
            host.wait(probe or "/health/ready")
        proxy = stack.enter_context(haproxy(place, [host.port for host in web], probe))
        site = Site(databases, web, mail, sink, proxy, place)
        wait_until(lambda: answers(site), 30, "an answer through HAProxy")
        yield site


def answers(site: Site) -> bool:
    """Whether HAProxy has found a web host."""
    load = site.load()
    load.start()
    time.sleep(0.2)
    load.stop()
    return bool(load.answered)
