"""Real `manage.py mailserver` processes: their sockets, their end, and what they keep in memory."""

import asyncio
import errno
import os
import signal
import smtplib
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from asyncio import selector_events
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from mail.server.doors import STOP_TIME, Doors
from mail.server.processes import READ_AT_ONCE, Processes, read_little_at_once, shares_of
from tests.rig.mail_doors import Hop
from tests.rig.mail_process import DOORS, ROOT, Server, is_soon, manage

MESSAGE = b"From: Bob <bob@sender.test>\r\nSubject: Hi\r\n\r\nHello\r\n"


@pytest.mark.parametrize("apart", ["no", "yes"])
@pytest.mark.parametrize("processes", ["1", "2"])
def test_all_doors_answer_and_sigterm_ends_them(
    server: Server, filled: tuple[Path, str], processes: str, apart: str
) -> None:
    alias = filled[1].encode()
    for name in DOORS:
        # What a server that was killed leaves behind.
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(server.directory / name))

    process = server.start(MAIL_PROCESSES=processes, MAIL_QUESTIONS_APART=apart)

    for name in DOORS:
        assert stat.S_IMODE((server.directory / name).stat().st_mode) == 0o660
    # A server that forks needs a moment: every process reads our domains for itself.
    question = b"request=smtpd_access_policy\nprotocol_state=RCPT\nrecipient=%b\n\n"
    for _ in range(4):
        assert server.ask("lmtp").startswith(b"220 mx.example.com")
        assert server.ask("policy", question % alias) == b"action=DUNNO\n\n"
        unknown = server.ask("policy", question % b"nobody@example.com")
        assert unknown == b"action=550 5.1.1 User unknown\n\n"
        asked = b"%d:recipients %b," % (len("recipients ") + len(alias), alias)
        assert server.ask("socketmap", asked) == b"%d:OK %b," % (len("OK ") + len(alias), alias)
    with smtplib.SMTP("127.0.0.1", server.port, timeout=20) as client:
        client.sendmail("bob@sender.test", [filled[1]], MESSAGE)
    (copy,) = server.arrived()
    assert b'From: "Bob - bob at sender.test" <r.' in copy
    assert copy.endswith(MESSAGE.partition(b"\r\n")[2])
    process.terminate()
    # Not because there was no more patience: nobody is served.
    assert process.wait(STOP_TIME - 2) == 0
    assert is_soon(lambda: not server.children())
    assert "Traceback" not in server.log()


@pytest.mark.parametrize(
    ("doors", "apart", "processes", "shares"),
    [
        ("lmtp policy socketmap", True, 1, ["lmtp", "policy socketmap"]),
        ("smtp lmtp policy", True, 2, ["smtp lmtp", "smtp lmtp", "policy"]),
        ("lmtp policy socketmap", False, 2, ["lmtp policy socketmap"] * 2),
        # Nobody else is there to be apart from.
        ("policy socketmap", True, 2, ["policy socketmap"] * 2),
        ("smtp milter", True, 1, ["smtp milter"]),
    ],
)
def test_postfixs_questions_have_a_process_of_their_own_if_that_is_wanted(
    settings: Settings, doors: str, apart: bool, processes: int, shares: list[str]
) -> None:
    settings.MAIL_QUESTIONS_APART, settings.MAIL_PROCESSES = apart, processes
    listeners: dict[str, Any] = dict.fromkeys(doors.split())

    assert [" ".join(share) for share in shares_of(listeners)] == shares


def test_who_is_apart_answers_for_all_others(settings: Settings) -> None:
    settings.MAIL_PROCESSES, settings.MAIL_CONNECTIONS = 4, 50
    settings.MAIL_UNKNOWN_PER_CLIENT, settings.MAIL_UNKNOWN_PER_DAY = 50, 500

    doors, apart = Doors({}, Hop()), Doors({}, Hop(), is_apart=True)

    for each in (doors, apart):
        each.lookups.close()
        each.ledger.close()
    limits = [(each.unknown_limit.limit, each.unknown_limit.limit_per_day) for each in (doors, apart)]
    assert limits == [(13, 125), (50, 500)]
    assert [each.connections_max for each in (doors, apart)] == [50, 200]


def ask_about(alias: str) -> bytes:
    return b"request=smtpd_access_policy\nprotocol_state=RCPT\nrecipient=%b\n\n" % alias.encode()


def test_questions_are_answered_while_messages_hang(server: Server, filled: tuple[Path, str]) -> None:
    server.start(MAIL_QUESTIONS_APART="yes")
    assert is_soon(lambda: len(server.children()) == 2)
    # The first that was forked.
    messages = min(server.children())

    os.kill(messages, signal.SIGSTOP)
    try:
        answers = [server.ask("policy", ask_about(name)) for name in (filled[1], "nobody@example.com")]
        with server.connect("lmtp") as waiting:
            waiting.settimeout(0.5)
            with pytest.raises(TimeoutError):
                waiting.recv(100)
    finally:
        os.kill(messages, signal.SIGCONT)

    assert answers == [b"action=DUNNO\n\n", b"action=550 5.1.1 User unknown\n\n"]
    assert server.ask("lmtp").startswith(b"220 ")


def test_who_answers_questions_is_replaced_and_messages_go_on(
    server: Server, filled: tuple[Path, str]
) -> None:
    server.start(MAIL_QUESTIONS_APART="yes")
    assert is_soon(lambda: len(server.children()) == 2)
    messages, questions = sorted(server.children())
    with smtplib.SMTP("127.0.0.1", server.port, timeout=20) as client:
        client.ehlo()

        os.kill(questions, signal.SIGKILL)

        # The same connection: whoever takes messages has noticed nothing.
        client.sendmail("bob@sender.test", [filled[1]], MESSAGE)
    assert is_soon(lambda: len(server.children() - {questions}) == 2)
    assert messages in server.children()
    assert server.ask("policy", ask_about(filled[1])) == b"action=DUNNO\n\n"
    assert len(server.arrived()) == 1


def test_who_answers_questions_counts_them_and_shows_no_sign_of_life(
    server: Server, filled: tuple[Path, str]
) -> None:
    """The signs of life are of those who take messages."""
    process = server.start(MAIL_QUESTIONS_APART="yes", METRICS_TOKEN="m" * 40)
    assert is_soon(lambda: len(server.children()) == 2)
    messages = min(server.children())
    assert server.ask("policy", ask_about(filled[1])) == b"action=DUNNO\n\n"

    with closing(sqlite3.connect(server.directory / "anonmail.sqlite3", timeout=20)) as database:

        def signs() -> list[str]:
            return [name for (name,) in database.execute("SELECT name FROM core_heartbeat")]

        assert is_soon(lambda: signs() == [f"{socket.gethostname()}:{messages}"])
        # Longer than it takes to show the first one.
        time.sleep(2)
        assert len(signs()) == 1
        process.terminate()
        assert process.wait(8) == 0
        assert signs() == []
        kinds = database.execute("SELECT labels FROM core_tally WHERE name LIKE '%recipient_seconds%'")
        assert ("forward",) in kinds.fetchall()


def test_a_start_that_cannot_be_is_one_sentence(server: Server) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        attempts = [
            ({"MAIL_LISTEN": place}, "Address already in use"),
            ({"MAIL_LISTEN": "", "MAIL_LMTP_LISTEN": f"unix:/tmp/{'x' * 120}"}, "at most 107 octets"),
            ({"MAIL_TLS_CERTIFICATE": "/nowhere"}, "cannot start"),
        ]
        for options, reason in attempts:
            ended = manage({**server.environment, **options}, "mailserver")

            assert ended.returncode == 1
            assert reason in ended.stderr
            assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr


def test_a_socket_that_is_served_is_not_taken_over(server: Server) -> None:
    server.start()

    second = manage({**server.environment, "MAIL_LISTEN": ""}, "mailserver")

    assert second.returncode == 1
    assert "Address already in use" in second.stderr
    assert server.ask("lmtp").startswith(b"220 ")


def test_two_processes_that_were_killed_leave_sockets_that_the_next_ones_replace(server: Server) -> None:
    first = server.start(MAIL_PROCESSES="2")
    assert is_soon(lambda: len(server.children()) == 2)
    for process in (first.pid, *server.children()):
        os.kill(process, signal.SIGKILL)
    first.wait(10)
    assert (server.directory / "lmtp").is_socket()

    server.start(MAIL_PROCESSES="2")

    for name in DOORS:
        with server.connect(name):
            continue
    assert server.ask("lmtp").startswith(b"220 mx.example.com")


class SlowHop:
    """A next hop that takes a message when it is told to."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.has_begun, self.may_end = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        connection, _address = self.listener.accept()
        with connection, connection.makefile("rwb") as stream:
            stream.write(b"220 hop.test\r\n")
            stream.flush()
            for line in stream:
                answer = b"250 ok\r\n"
                if line.upper().startswith(b"DATA"):
                    answer = b"354 go on\r\n"
                elif line == b".\r\n":
                    self.has_begun.set()
                    self.may_end.wait(60)
                elif not line.upper().startswith((b"EHLO", b"MAIL", b"RCPT", b"QUIT", b"RSET")):
                    continue
                stream.write(answer)
                stream.flush()

    def close(self) -> None:
        self.may_end.set()
        self.listener.close()
        self.thread.join(5)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_message_underway_is_finished_before_the_end(
    server: Server, filled: tuple[Path, str], processes: str
) -> None:
    hop = SlowHop()
    process = server.start(MAIL_NEXT_HOP=f"smtp://127.0.0.1:{hop.port}", MAIL_PROCESSES=processes)
    with (
        server.connect("lmtp") as idle,
        smtplib.SMTP("127.0.0.1", server.port, timeout=20) as client,
    ):
        assert idle.recv(100).startswith(b"220 ")
        client.ehlo()
        client.mail("bob@sender.test")
        assert client.rcpt(filled[1])[0] == 250
        assert client.docmd("DATA")[0] == 354
        client.send(MESSAGE + b".\r\n")
        assert hop.has_begun.wait(60)

        began = time.monotonic()
        process.terminate()
        # Who waits is sent away; who is being served is not.
        assert idle.recv(100) == b""
        hop.may_end.set()

        assert client.getreply()[0] == 250
        client.close()
    # Once that is done, and not when there is no more patience.
    assert process.wait(began + STOP_TIME - 2 - time.monotonic()) == 0
    hop.close()
    assert "Traceback" not in server.log()


@contextmanager
def message_underway(server: Server, alias: str, hop: SlowHop) -> Iterator[smtplib.SMTP]:
    """A client that waits for its answer, because the next hop waits."""
    with smtplib.SMTP("127.0.0.1", server.port, timeout=60) as client:
        client.ehlo()
        client.mail("bob@sender.test")
        assert client.rcpt(alias)[0] == 250
        assert client.docmd("DATA")[0] == 354
        client.send(MESSAGE + b".\r\n")
        assert hop.has_begun.wait(60)
        yield client
        hop.may_end.set()
        assert client.getreply()[0] == 250
        client.close()


@pytest.mark.parametrize("apart", ["no", "yes"])
def test_no_door_stays_open_while_the_last_message_is_finished(
    server: Server, filled: tuple[Path, str], apart: str
) -> None:
    """Whoever connects there would wait until the end, and then be hung up on."""
    hop = SlowHop()
    process = server.start(
        MAIL_NEXT_HOP=f"smtp://127.0.0.1:{hop.port}", MAIL_QUESTIONS_APART=apart, MAIL_PROCESSES="2"
    )
    with message_underway(server, filled[1], hop):
        process.terminate()

        assert is_soon(lambda: not any(map(server.takes_connections, DOORS)), 10)
        assert process.poll() is None
    assert process.wait(60) == 0
    hop.close()


def test_another_can_start_while_one_whose_parent_was_killed_finishes_its_message(
    server: Server, filled: tuple[Path, str]
) -> None:
    hop = SlowHop()
    options = {"MAIL_NEXT_HOP": f"smtp://127.0.0.1:{hop.port}", "MAIL_QUESTIONS_APART": "yes"}
    first = server.start(**options)
    with message_underway(server, filled[1], hop):
        first.kill()
        first.wait(60)
        assert is_soon(lambda: not any(map(server.takes_connections, DOORS)), 10)

        server.start(**options)

        assert server.ask("policy", ask_about(filled[1])) == b"action=DUNNO\n\n"
    hop.close()


def test_a_process_that_dies_is_replaced_and_none_outlives_the_parent(server: Server) -> None:
    process = server.start(MAIL_PROCESSES="2")
    assert is_soon(lambda: len(server.children()) == 2)
    before = server.children()
    killed = before.pop()

    os.kill(killed, signal.SIGKILL)

    # The killed one may be seen for a moment still, until its parent has noticed.
    assert is_soon(lambda: len(server.children() - {killed}) == 2)
    assert before < server.children() - {killed}
    assert all(server.is_serving() for _ in range(6))
    # At any moment, that of a child's birth included.
    os.kill(before.pop(), signal.SIGKILL)
    time.sleep(0.25)
    process.kill()
    process.wait(60)
    assert is_soon(lambda: not server.children())
    assert not server.is_serving()


@pytest.mark.parametrize("processes", ["1", "2"])
def test_with_nohup_it_outlives_its_shell(server: Server, processes: str) -> None:
    """`nohup manage.py mailserver &` in a terminal that is then closed."""
    line = f"nohup {sys.executable} manage.py mailserver >/dev/null 2>&1 & echo $!"
    shell = subprocess.Popen(
        ["sh", "-c", f"{line}; sleep 60"],
        cwd=ROOT,
        env={**server.environment, "MAIL_PROCESSES": processes},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert shell.stdout
    with shell, shell.stdout:
        process = int(shell.stdout.readline())
        try:
            assert is_soon(server.is_serving)

            shell.kill()
            os.killpg(shell.pid, signal.SIGHUP)
            time.sleep(3)

            assert server.is_serving()
        finally:
            os.kill(process, signal.SIGTERM)
    assert is_soon(lambda: not server.is_serving())


def resident(process: int) -> int:
    """Octets of memory that the process has had at most, of its own."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def test_endless_data_is_not_kept(server: Server, filled: tuple[Path, str]) -> None:
    limit = 1_000_000
    process = server.start(MAIL_SIZE_LIMIT=str(limit))
    with smtplib.SMTP("127.0.0.1", server.port, timeout=20) as client:
        client.sendmail("bob@sender.test", [filled[1]], MESSAGE + b"x" * 900_000)
    before = resident(process.pid)
    pieces = {
        "one line": b"x" * 1_000_000,
        "lines": b"xxxxxxxx\r\n" * 100_000,
        "dots": b"..\r\n" * 250_000,
        "zeros": b"\0" * 1_000_000,
    }
    for piece in pieces.values():
        with smtplib.SMTP("127.0.0.1", server.port, timeout=20) as client:
            client.ehlo()
            client.mail("bob@sender.test")
            client.rcpt(filled[1])
            client.docmd("DATA")
            sent = 0
            with suppress(ConnectionError, smtplib.SMTPServerDisconnected):
                while sent < 300_000_000:
                    client.send(piece)
                    sent += len(piece)
            client.close()
            # It hung up long before.
            assert sent < 30_000_000
    # Endless commands are read to their end, for as long as a command may take.
    with server.connect("smtp") as connection, suppress(ConnectionError):
        for _ in range(100):
            connection.sendall(b"x" * 1_000_000)

    assert server.is_serving()
    assert resident(process.pid) - before < 8 * limit
    assert "Traceback" not in server.log()


def test_many_messages_at_the_limit_leave_no_memory_behind(server: Server, filled: tuple[Path, str]) -> None:
    process = server.start(MAIL_SIZE_LIMIT="3000000")
    content = MESSAGE + b"..\r\n" * 600_000

    def send() -> None:
        with smtplib.SMTP("127.0.0.1", server.port, timeout=20) as client:
            client.ehlo()
            client.mail("bob@sender.test")
            client.rcpt(filled[1])
            client.docmd("DATA")
            client.send(content + b".\r\n")
            assert client.getreply()[0] == 250

    for _ in range(3):
        send()
    before = resident(process.pid)
    for _ in range(12):
        send()

    # Threads and their heaps come one by one; a message kept each time would be four times as much.
    assert resident(process.pid) - before < 9_000_000
    assert len(server.arrived()) == 15


def test_nothing_stays_in_memory_that_a_mail_server_does_not_use(server: Server) -> None:
    """Pages, the API, the readers of imports, an HTTP client, questions to the DNS, and the driver of another
    database."""
    code = (
        "import django; django.setup(); import mail.management.commands.mailserver, sys; print(*sys.modules)"
    )
    command = [sys.executable, "-c", code]

    printed = subprocess.run(
        command, cwd=ROOT, env=server.environment, capture_output=True, text=True, check=True, timeout=300
    )

    loaded = set(printed.stdout.split())
    assert "mail.server.processes" in loaded
    unused = {"anonmail_site.urls", "rest_framework.views", "transfer.formats", "requests", "psycopg"}
    unused |= {"dns", "dns.resolver"}
    assert loaded.isdisjoint(unused)


# Runs two processes that end as soon as they begin, for the seconds that are given.
_ENDING = """
import os, signal, sys, threading
import django
django.setup()
from mail.server import processes
def serve(listeners, parent=None, is_apart=False):
    print("began", flush=True)
    raise RuntimeError
processes.serve = serve
threading.Timer(float(sys.argv[1]), os.kill, (os.getpid(), signal.SIGTERM)).start()
processes.Processes([{}, {}]).run()
print("stopped", flush=True)
"""


def test_processes_that_end_at_once_are_replaced_more_and_more_rarely(tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "tests.settings", "VAR_DIR": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, "-c", _ENDING, "6"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=300
    )

    # Of each, one at first; one more after 0.2 seconds, then 0.4, 0.8, …
    assert 4 <= done.stdout.count("began") <= 12, done.stdout
    assert done.stdout.endswith("stopped\n")
    assert done.stderr.count("another takes its place") <= 12


def test_where_there_is_no_room_for_a_process_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fork() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", fork)
    processes = Processes([{}, {}])
    first, second = processes.places

    processes._start(first)
    processes._start(second)

    assert processes.running == []
    assert min(first.due, second.due) > time.monotonic()
    assert caplog.messages == ["a mail process cannot be started: Resource temporarily unavailable"]


def test_what_comes_over_a_connection_is_read_in_pieces_for_which_no_pages_are_fetched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    transports: Any = selector_events
    monkeypatch.setattr(transports._SelectorTransport, "max_size", 256 * 1024)
    sizes: list[int] = []

    class Reader(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            sizes.append(len(data))

    async def read() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1024 * 1024)
            theirs.setblocking(False)
            transport, _protocol = await asyncio.get_running_loop().create_connection(Reader, sock=theirs)
            sent = ours.send(b"x" * 200_000)
            while sum(sizes) < sent:
                await asyncio.sleep(0.01)
            transport.close()

    asyncio.run(read())
    assert max(sizes) > READ_AT_ONCE
    sizes.clear()

    read_little_at_once()
    asyncio.run(read())

    assert max(sizes) == READ_AT_ONCE
