"""Clients that are slow, or send too much: what a stranger can do with sockets, against the real server."""

import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import requests

from tests.anonmail_site.test_start import BASE, ask, environment
from tests.rig.mail_process import is_soon
from tests.rig.ports import free_port

GUNICORN = "gunicorn -c python:anonmail_site.gunicorn_conf anonmail_site.wsgi"
# Kibibytes that the workers may gain while they refuse a body: each may be loading a part of the site
# (some 10 MiB). A body that was kept would take 100 MiB at least.
GAINED_MAX = 60 * 1024
# More than there are threads in both workers.
CLIENTS = 40
SLOW_HEAD = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "
SLOW_BODY = b"POST /accounts/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nlogin="
SLOW_CHUNKS = (
    b"POST /api/alias/random/new HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n{"
)
# The largest file that anybody may ask for.
LARGE = (
    b"GET /static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js HTTP/1.1\r\n"
    b"Host: 127.0.0.1\r\n\r\n"
)
KEPT = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
NOT_CLOSED = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


@dataclass
class Web:
    """gunicorn as docs/install.md starts it, and its process."""

    port: int
    process: "subprocess.Popen[str]"
    log: Path
    database: Path
    # What `prepare` said: the first admin's password and token.
    said: str

    @property
    def workers(self) -> list[int]:
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def memory(self, word: str = "VmRSS") -> int:
        """Kibibytes that the workers hold together (VmHWM: held at most)."""
        return sum(
            int(line.split()[1])
            for worker in self.workers
            for line in Path(f"/proc/{worker}/status").read_text().splitlines()
            if line.startswith(word)
        )


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    var, port = tmp_path_factory.mktemp("web"), free_port()
    env = environment(var, port)
    prepare = [sys.executable, "manage.py", "prepare"]
    said = subprocess.run(prepare, cwd=BASE, env=env, check=True, capture_output=True, text=True).stdout
    log = var / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *GUNICORN.split()],
            cwd=BASE,
            env=env,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    server = Web(port, process, log, var / "var" / "anonmail.sqlite3", said)
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0 and len(server.workers) == 2:
                    break
            time.sleep(0.1)
        # both workers have loaded everything
        for _ in range(10):
            ask(port, "GET", "/accounts/login/")
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)
    assert "Traceback" not in log.read_text()
    assert "127.0.0.1" not in log.read_text()


def clients(web: Web, stack: ExitStack, number: int = CLIENTS) -> list[socket.socket]:
    connected = []
    for _ in range(number):
        client = stack.enter_context(socket.socket())
        # takes as little of an answer as can be
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.settimeout(20)
        client.connect(("127.0.0.1", web.port))
        connected.append(client)
    return connected


@pytest.mark.parametrize(
    ("sent", "then"),
    [
        pytest.param(b"", b"", id="nothing"),
        pytest.param(SLOW_HEAD, b"x", id="head"),
        pytest.param(SLOW_BODY, b"x", id="body"),
        pytest.param(SLOW_CHUNKS, b"x", id="chunks"),
        pytest.param(LARGE, b"", id="answer"),
        pytest.param(KEPT, b"", id="kept"),
        pytest.param(NOT_CLOSED, b"", id="not closed"),
    ],
)
def test_slow_clients_hold_up_nobody(web: Web, sent: bytes, then: bytes) -> None:
    with ExitStack() as stack:
        slow = clients(web, stack)
        for client in slow:
            client.sendall(sent)
        time.sleep(1)
        for client in slow:
            client.sendall(then)

        # Less than the ten seconds after which the server gives up the slow ones.
        answered = [ask(web.port, "GET", "/health", timeout=9) for _ in range(4)]
        refused = ask(web.port, "POST", "/api/alias/random/new", timeout=9, Authentication="x" * 40)

    assert [answer[0] for answer in answered] == [200] * 4
    assert refused[0] == 401


def test_a_connection_has_a_deadline_however_it_trickles(web: Web) -> None:
    """Nothing, heads and bodies that go on by an octet a second, and an answer that nobody takes."""
    with ExitStack() as stack:
        slow = clients(web, stack, 5)
        for client, sent in zip(slow, (b"", SLOW_HEAD, SLOW_BODY, SLOW_CHUNKS, LARGE), strict=True):
            client.sendall(sent)
        reader = slow.pop()
        trickling = slow[1:]
        ended: dict[socket.socket, float] = {}
        started = time.monotonic()
        while len(ended) < len(slow) and (now := time.monotonic() - started) < 20:
            for client in set(slow) - set(ended):
                client.settimeout(0.1)
                try:
                    if client in trickling:
                        client.sendall(b"x")
                    if client.recv(10) == b"":
                        ended[client] = now
                except TimeoutError:
                    continue
                except OSError:
                    ended[client] = now
            time.sleep(0.5)
        time.sleep(max(0, 14 - (time.monotonic() - started)))
        reader.settimeout(5)
        taken = 0
        try:
            while piece := reader.recv(65536):
                taken += len(piece)
        except OSError:
            pass

    assert set(ended) == set(slow)
    assert min(ended.values()) > 4
    assert 0 < taken < 1_000_000


@pytest.mark.parametrize(
    "path", ["/", "/accounts/login/", "/admin/login/", "/aliases/import/", "/api/alias/random/new"]
)
def test_a_large_body_is_refused_before_it_is_read(web: Web, path: str) -> None:
    """300 MB of multipart to any page."""
    before = web.memory()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        f"Content-Length: {300 * 2**20}\r\nExpect: 100-continue\r\n\r\n--x\r\n"
        'Content-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    ).encode()

    with ExitStack() as stack:
        (client,) = clients(web, stack, 1)
        client.sendall(head)
        answer = client.recv(65536)
        sent = 0
        try:
            while sent < 300 * 2**20:
                sent += client.send(b"x" * 2**20)
        except OSError:
            pass

    assert b" 413 " in answer.partition(b"\r\n")[0] or (
        # whoever is not signed in is sent to the sign-in page, and nothing is read either
        path == "/aliases/import/" and b" 302 " in answer.partition(b"\r\n")[0]
    )
    assert b"Connection: close" in answer
    assert sent < 300 * 2**20
    assert web.memory() - before < GAINED_MAX


@pytest.mark.parametrize("path", ["/accounts/login/", "/api/alias/random/new"])
@pytest.mark.parametrize("framing", ["content", "extensions", "trailers"])
def test_chunks_without_end_are_refused(web: Web, path: str, framing: str) -> None:
    before = web.memory()
    filling = b"x" * 65536
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    begins = {"content": b"", "extensions": b"1;", "trailers": b"0\r\nX: "}[framing]
    piece = b"10000\r\n" + filling + b"\r\n" if framing == "content" else filling

    with ExitStack() as stack:
        (client,) = clients(web, stack, 1)
        client.sendall(head + begins)
        sent = 0
        try:
            while sent < 100 * 2**20:
                sent += client.send(piece)
        except OSError:
            pass
        client.settimeout(1)

    assert sent < 100 * 2**20
    assert web.memory() - before < GAINED_MAX


def test_requests_that_do_not_wait_for_answers_are_all_answered(web: Web) -> None:
    """Each comes while the one before it is being answered, or just after that."""
    with ExitStack() as stack:
        (client,) = clients(web, stack, 1)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answers = b""
        for number in range(300):
            client.sendall(KEPT)
            time.sleep(0.0005 * (number % 8))
        while answers.count(b"HTTP/1.1 200 ") < 300:
            piece = client.recv(65536)
            assert piece
            answers += piece

    assert answers.count(b"HTTP/1.1 ") == 300


def test_a_chunked_body_is_understood(web: Web) -> None:
    with ExitStack() as stack:
        (client,) = clients(web, stack, 1)
        client.sendall(
            b"POST /api/auth/login HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
            b'8\r\n{"email"\r\n13\r\n: "a", "password":"\r\n3\r\nb"}\r\n0\r\n\r\n'
        )
        answer = client.recv(65536)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"Email or password incorrect" in answer


def test_a_refused_upload_hears_its_answer_while_it_goes_on_sending(web: Web) -> None:
    """A reset must not overtake the answer: browsers show nothing but that then."""
    size = 2 * 2**20
    head = f"POST /accounts/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {size}\r\n\r\n".encode()

    with ExitStack() as stack:
        (client,) = clients(web, stack, 1)
        client.sendall(head + b"x" * size)
        answer = b""
        while piece := client.recv(65536):
            answer += piece

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"can have at most 1024 KB" in answer


@pytest.mark.parametrize("path", ["/health", "/accounts/login/", "/static/robots.txt", "/nowhere"])
def test_the_answer_to_head_has_no_body(web: Web, path: str) -> None:
    """On a kept connection, it would be taken for the next answer."""
    with closing(socket.create_connection(("127.0.0.1", web.port), 20)) as client:
        client.sendall(f"HEAD {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode() + NOT_CLOSED)
        received = b"".join(iter(partial(client.recv, 65536), b""))

    head, following, _rest = received.split(b"\r\n\r\n")
    assert int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]) > 0
    assert following.startswith(b"HTTP/1.1 200 ")


def test_a_worker_that_stops_finishes_what_was_begun(web: Web) -> None:
    """Deployments restart: HUP replaces the workers, and no request that was sent is lost."""
    with ExitStack() as stack:
        kept = clients(web, stack, 6)
        for client in kept:
            client.sendall(KEPT)
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        half = clients(web, stack, 6)
        for client in half:
            client.sendall(KEPT[:20])
        workers = web.workers
        web.process.send_signal(signal.SIGHUP)
        time.sleep(1)
        for client in kept:
            client.sendall(KEPT)
        for client in half:
            client.sendall(KEPT[20:])
        answers = [client.recv(65536) for client in kept + half]
        deadline = time.monotonic() + 20
        while set(workers) & set(web.workers) and time.monotonic() < deadline:
            time.sleep(0.1)

    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 200"] * 12
    assert not set(workers) & set(web.workers)
    assert ask(web.port, "GET", "/health")[0] == 200


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another process writes, for longer than anybody waits."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


LISTS = ("/api/v2/aliases?page_id=0", "/api/v1/aliases", "/api/user_info", "/api/mailboxes", "/api/setting")
PAGES = (
    "/aliases/",
    "/aliases/new/",
    "/tokens/",
    "/addresses/",
    "/domains/",
    "/account/",
    "/aliases/import/",
)


def test_what_only_reads_answers_while_another_process_writes(web: Web) -> None:
    """With a new token, whose use is written after that; a page for somebody who has been told something."""
    site = f"http://127.0.0.1:{web.port}"
    password = re.search(r"Password +(\S+)", web.said)
    key = re.search(r"'Authentication: (\S+?)'", web.said)
    assert password
    assert key
    with requests.Session() as browser:
        token = re.search(r'csrfmiddlewaretoken" value="(\w+)"', browser.get(f"{site}/accounts/login/").text)
        assert token
        form = {"login": "admin@example.com", "password": password[1], "csrfmiddlewaretoken": token[1]}
        # the list says “signed in”: reading that writes nothing
        browser.post(f"{site}/accounts/login/", form, allow_redirects=False)

        with locked(web.database):
            started = time.monotonic()
            lists = [
                browser.get(site + path, headers={"Authentication": key[1]}, timeout=15) for path in LISTS
            ]
            pages = [browser.get(site + path, timeout=15, allow_redirects=False) for path in PAGES]
            took = time.monotonic() - started

    assert [answer.status_code for answer in lists + pages] == [200] * (len(LISTS) + len(PAGES))
    # nothing waited for the lock (20 s each)
    assert took < 15
    with closing(sqlite3.connect(web.database)) as connection:
        last_used = "SELECT last_used FROM tokens_token"
        assert is_soon(lambda: connection.execute(last_used).fetchone()[0] is not None)


def test_answers_name_no_server_software(web: Web) -> None:
    headers = ask(web.port, "GET", "/health")[1]

    assert "Server" not in headers
    assert "Via" not in headers
