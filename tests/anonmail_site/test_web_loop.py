"""A web worker's loop and threads, without gunicorn or HTTP."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from anonmail_site.web_loop import Dispatcher, Watched


class Connection:
    """One end of a socket pair, as waitress's channels are; it counts how often it is asked what it wants."""

    accepting = False

    def __init__(self, own: socket.socket, map: Watched) -> None:
        self.socket = own
        self._fileno = own.fileno()
        self.reads, self.writes = True, False
        self.asked = 0
        self.received: list[bytes] = []
        self.is_closed = False
        map[self._fileno] = self

    def readable(self) -> bool:
        self.asked += 1
        return self.reads

    def writable(self) -> bool:
        return self.writes

    def handle_read_event(self) -> None:
        self.received.append(self.socket.recv(100))

    def handle_write_event(self) -> None:
        self.writes = False

    def handle_close(self) -> None:
        self.is_closed = True


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture
def pairs(watched: Watched) -> Iterator[list[tuple[Connection, socket.socket]]]:
    with ExitStack() as stack:
        made = []
        for _ in range(50):
            own, client = map(stack.enter_context, socket.socketpair())
            made.append((Connection(own, watched), client))
        yield made


Pairs = list[tuple[Connection, socket.socket]]


def test_only_a_connection_to_which_something_happens_is_asked(watched: Watched, pairs: Pairs) -> None:
    connection, client = pairs[7]
    client.send(b"hello")

    watched.handle_events(0.05)

    assert connection.received == [b"hello"]
    assert connection.asked == 1
    assert sum(other.asked for other, _client in pairs) == 1


def test_what_comes_while_a_request_is_answered_waits_and_costs_nothing(
    watched: Watched, pairs: Pairs
) -> None:
    connection, client = pairs[0]
    connection.reads = False
    client.send(b"the next request")
    watched.handle_events(0.05)
    asked = connection.asked
    watched.handle_events(0.05)
    assert (connection.received, connection.asked) == ([], asked)

    connection.reads = True
    assert watched.note_change(connection)
    watched.handle_events(0.05)

    assert connection.received == [b"the next request"]


def test_a_connection_that_is_answered_may_end_and_is_told_later(watched: Watched, pairs: Pairs) -> None:
    connection, client = pairs[0]
    connection.reads = False
    client.close()
    watched.handle_events(0.05)
    assert not connection.is_closed

    connection.reads = True
    watched.note_change(connection)
    watched.handle_events(0.05)

    assert connection.is_closed


def test_the_loop_is_not_woken_for_a_connection_that_wants_what_it_wanted(
    watched: Watched, pairs: Pairs
) -> None:
    assert not watched.note_change(pairs[0][0])
    assert not watched.has_changes


def test_what_could_not_be_sent_is_sent_when_the_client_takes_it(watched: Watched, pairs: Pairs) -> None:
    connection, client = pairs[0]
    connection.reads, connection.writes = False, True
    assert watched.note_change(connection)

    watched.handle_events(0.05)

    assert not connection.writes
    connection.reads = True
    watched.note_change(connection)
    client.send(b"again")
    watched.handle_events(0.05)
    assert connection.received == [b"again"]


def test_a_number_that_is_used_again_belongs_to_the_new_socket(watched: Watched, pairs: Pairs) -> None:
    connection, client = pairs[0]
    del watched[connection._fileno]
    other = Connection(connection.socket, watched)
    client.send(b"hello")

    watched.handle_events(0.05)

    assert (connection.received, other.received) == ([], [b"hello"])


class Task:
    """Notes which thread ran it, and waits to be let go."""

    def __init__(self, goes_on: threading.Event | None = None, error: BaseException | None = None) -> None:
        self.goes_on, self.error = goes_on, error
        self.is_running, self.is_done = threading.Event(), threading.Event()
        self.thread: Any = None

    def service(self) -> None:
        self.thread = threading.current_thread()
        self.is_running.set()
        if self.goes_on:
            self.goes_on.wait(10)
        self.is_done.set()
        if self.error:
            raise self.error


def test_more_requests_than_threads_are_answered_in_order() -> None:
    dispatcher, goes_on = Dispatcher(2), threading.Event()
    tasks = [Task(goes_on) for _ in range(5)]
    for task in tasks:
        dispatcher.add_task(task)
    assert all(task.is_running.wait(10) for task in tasks[:2])
    assert not any(task.is_running.is_set() for task in tasks[2:])

    goes_on.set()

    assert all(task.is_done.wait(10) for task in tasks)
    assert len({task.thread for task in tasks}) == 2


def test_the_thread_that_was_busy_last_is_the_next_one() -> None:
    dispatcher = Dispatcher(8)
    threads = set()
    for _ in range(20):
        task = Task()
        dispatcher.add_task(task)
        assert task.is_done.wait(10)
        _until_idle(dispatcher, 8)
        threads.add(task.thread)

    assert len(threads) == 1


def test_a_thread_survives_an_answer_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    dispatcher = Dispatcher(1)
    dispatcher.add_task(Task(error=SystemExit("a secret")))
    after = Task()
    dispatcher.add_task(after)

    assert after.is_done.wait(10)
    assert caplog.messages == ["an answer ended with SystemExit"]


def _until_idle(dispatcher: Dispatcher, threads: int) -> None:
    while len(dispatcher._idle) < threads:
        threading.Event().wait(0.001)
