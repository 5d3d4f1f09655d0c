"""deploy/haproxy.cfg before two web hosts that do as the test says."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.rig.availability.proxies import haproxy, state
from tests.rig.letters import wait_until
from tests.rig.postgresql import Missing

# Seconds in which a client expects an answer; far less than deploy/haproxy.cfg's `timeout server`.
PATIENCE = 20


class Host:
    """A web host that answers each request with its name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_ready, self.ends_early = True, False
        self.asked: list[str] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=[0.05], daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        host = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *words: object) -> None:
                pass

            def do_GET(self) -> None:
                if self.path.startswith("/health/"):
                    is_well = host.is_ready or self.path == "/health/live"
                    self.answer(200 if is_well else 503)
                    return
                host.asked.append(self.command)
                host.may_answer.wait(PATIENCE * 2)
                if not host.ends_early:
                    self.answer(200)

            do_POST = do_GET

            def answer(self, status: int) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(host.name)))
                self.end_headers()
                self.wfile.write(host.name.encode())

        return Handler

    def stop_listening(self) -> None:
        """Accept nothing more. What is underway hangs, or goes on."""
        self.server.shutdown()
        self.server.server_close()


@dataclass
class Proxied:
    """Two hosts, and HAProxy before them."""

    hosts: list[Host]
    port: int
    place: Path

    def ask(self, method: str = "GET") -> tuple[int, str]:
        """The status, and who answered."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)) as connection:
            connection.request(method, "/somewhere")
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def wait_for(self, number: int, what: str) -> None:
        """Wait until HAProxy takes the host of this number for that."""
        wait_until(lambda: state(self.place, number).startswith(what), PATIENCE, what)


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[Proxied]:
    with ExitStack() as stack:
        hosts = [Host("one"), Host("two")]
        for host in hosts:
            stack.callback(host.stop_listening)
            stack.callback(host.may_answer.set)
        try:
            port = stack.enter_context(haproxy(tmp_path, [host.port for host in hosts]))
        except Missing as reason:
            missing(str(reason))
        made = Proxied(hosts, port, tmp_path)
        for number in (1, 2):
            made.wait_for(number, "UP")
        yield made


class Asked(threading.Thread):
    """A request that takes a while."""

    def __init__(self, proxied: Proxied, method: str = "GET") -> None:
        super().__init__(daemon=True)
        self.proxied, self.method = proxied, method
        self.answer: tuple[int, str] | None = None
        self.start()

    def run(self) -> None:
        try:
            self.answer = self.proxied.ask(self.method)
        except TimeoutError:
            self.answer = None
        except (OSError, HTTPException):
            self.answer = (0, "")


def underway(proxied: Proxied) -> tuple[Asked, Host, int]:
    """A create that a host has and does not answer yet, that host, and its number."""
    for host in proxied.hosts:
        host.may_answer.clear()
    request = Asked(proxied, "POST")
    wait_until(lambda: any(host.asked for host in proxied.hosts), PATIENCE, "a request")
    number = 1 if proxied.hosts[0].asked else 2
    proxied.hosts[2 - number].may_answer.set()
    return request, proxied.hosts[number - 1], number


def test_a_host_that_is_not_ready_finishes_what_it_has_and_gets_nothing_new(proxied: Proxied) -> None:
    request, leaving, number = underway(proxied)

    leaving.is_ready = False
    proxied.wait_for(number, "NOLB")
    answers = [proxied.ask(method) for method in ("GET", "POST") * 3]
    leaving.may_answer.set()
    request.join(PATIENCE)

    other = proxied.hosts[2 - number]
    assert answers == [(200, other.name)] * 6
    assert request.answer == (200, leaving.name)
    assert leaving.asked == ["POST"]

    leaving.is_ready = True
    proxied.wait_for(number, "UP")


def test_while_no_host_is_ready_they_answer_in_their_own_words(proxied: Proxied) -> None:
    for host in proxied.hosts:
        host.is_ready = False
    for number in (1, 2):
        proxied.wait_for(number, "NOLB")

    answers = [proxied.ask() for _ in range(4)]

    assert [status for status, _name in answers] == [200] * 4
    assert {name for _status, name in answers} <= {"one", "two"}


def test_a_host_that_answers_no_more_does_not_keep_its_clients(proxied: Proxied) -> None:
    request, dead, number = underway(proxied)

    dead.stop_listening()
    proxied.wait_for(number, "DOWN")
    request.join(PATIENCE)

    # It may have been done, so nobody does it again.
    assert request.answer is not None
    assert request.answer[0] in {0, 502, 503}
    assert [len(host.asked) for host in proxied.hosts].count(1) == 1
    assert proxied.ask() == (200, proxied.hosts[2 - number].name)


def test_what_only_reads_is_asked_again_and_a_create_is_not(proxied: Proxied) -> None:
    for host in proxied.hosts:
        host.ends_early = True

    assert proxied.ask("POST")[0] == 502
    assert [host.asked for host in proxied.hosts].count(["POST"]) == 1
    for host in proxied.hosts:
        host.asked.clear()

    assert proxied.ask("GET")[0] == 502
    # The other host was asked as well.
    assert all("GET" in host.asked for host in proxied.hosts)

    proxied.hosts[0].ends_early = False
    assert [proxied.ask("GET") for _ in range(4)] == [(200, "one")] * 4


def test_a_host_that_refuses_connections_costs_nobody_an_answer(proxied: Proxied) -> None:
    proxied.hosts[0].stop_listening()

    # Before HAProxy has noticed, too.
    assert [proxied.ask(method) for method in ("POST", "GET") * 4] == [(200, "two")] * 8
