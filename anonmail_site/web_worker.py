"""A gunicorn worker in which slow clients do not block threads.

gunicorn manages the processes. In each of them, waitress serves the clients: one loop reads whole requests
and sends answers, and threads run Django. This module adds what waitress lacks: deadlines, a body limit by
path, a close that does not cut off the answer, and a clean stop. The loop and the threads are those of
`web_loop`.
"""

import os
import resource
import select
import socket
import time
from typing import Any

from gunicorn.workers.base import Worker
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import TcpWSGIServer, UnixWSGIServer
from waitress.task import WSGITask

from anonmail_site.web_loop import Dispatcher, Watched

# Seconds that a client has for the head of a request, and before its minimum rate counts; the second number
# applies if there are too many clients.
PATIENCE, HURRY = 10, 1
# Minimum octets a second, on average, for a request's body and for taking an answer.
LEAST_RATE = 4096
# Seconds, and octets, for which a closed connection is still read: a reset must not cut off the answer.
LINGER = 5
LINGER_BYTES = 16 * 1024 * 1024
# Seconds for which a stopping worker still answers on open connections.
STOP_LINGER = 2
HEAD_MAX_BYTES = 64 * 1024
# A larger body or answer is buffered in a temporary file.
MEMORY_BYTES = 256 * 1024
# Octets of an answer that the kernel buffers for a client.
KERNEL_BYTES = 128 * 1024
# Octets of one answer that are buffered before the thread that produces it must wait for the client.
ANSWER_MAX_BYTES = 64 * 1024 * 1024
# Seconds between two signs of life that gunicorn gets from a worker, and two looks at who is overdue.
TURN = 0.5
# Files that a worker opens besides its clients' connections: databases, static files, buffered bodies.
FILES_OF_ITS_OWN = 200


class Parser(HTTPRequestParser):  # type: ignore[misc]
    """A request, with the body limit that the application sets for its path.

    A larger request is passed to the application without its body but with its length, so that the
    application can refuse it in its own words.
    """

    body_max = 0

    def __init__(self, adj: "Settings") -> None:
        super().__init__(adj)
        self.began = time.monotonic()

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        self.body_max = self.adj.body_limit(self.path)
        if self.content_length > self.body_max:
            self._refuse_body(self.content_length)

    def received(self, data: bytes) -> int:
        consumed: int = super().received(data)
        if self.chunked and self.body_rcv is not None:
            length = self.body_rcv.__len__()
            # Sizes, extensions and trailers count too, because they are kept in memory.
            if length > self.body_max or self.body_bytes_received > 2 * length + HEAD_MAX_BYTES:
                self._refuse_body(max(length, self.body_max + 1))
        return consumed

    def _refuse_body(self, length: int) -> None:
        self.close()
        self.body_rcv = None
        self.chunked = self.expect_continue = False
        self.completed = True
        self.content_length = 0
        self.headers["CONTENT_LENGTH"] = str(length)
        self.headers["CONNECTION"] = "close"


class Task(WSGITask):  # type: ignore[misc]
    """An answer, sent in one piece if it is small.

    If the worker is stopping, the answer also closes the connection.
    """

    def write(self, data: bytes) -> None:
        """Send a piece of the body. The answer to HEAD has none (RFC 9110 §9.3.2): waitress leaves that to
        Django, and Django to the server."""
        if self.request.command != "HEAD":
            super().write(data)
            return
        super().write(b"")
        self.content_bytes_written += len(data)

    def finish(self) -> None:
        super().finish()
        self.channel.flush()

    def build_response_header(self) -> bytes:
        if self.channel.server.is_stopping:
            self.request.headers["CONNECTION"] = "close"
        return bytes(super().build_response_header())


class Channel(HTTPChannel):  # type: ignore[misc]
    """One client's connection."""

    parser_class = Parser
    task_class = Task

    def __init__(self, *args: Any, **named: Any) -> None:
        self.idle_since = time.monotonic()
        self.sent = 0
        self.sending_since: float | None = None
        self.lingers_since: float | None = None
        self.ignored = 0
        super().__init__(*args, **named)

    def service(self) -> None:
        super().service()
        if self._map.note_change(self):
            self.server.pull_trigger()

    def send(self, data: bytes, do_close: bool = True) -> int:
        sent = 0
        try:
            sent = int(super().send(data, do_close))
        finally:
            if sent < len(data):
                # waitress then wakes the loop, which waits until the client takes more.
                self._map.note_change(self)
        self.sent += sent
        return sent

    def readable(self) -> bool:
        return self.lingers_since is not None or bool(super().readable())

    def writable(self) -> bool:
        return self.lingers_since is None and bool(super().writable())

    def handle_read(self) -> None:
        if self.lingers_since is None:
            super().handle_read()
            return
        try:
            # This closes the connection if the client has closed it.
            self.ignored += len(self.recv(self.adj.recv_bytes))
        except OSError:
            self.handle_close()
        if self.connected and self.ignored > LINGER_BYTES:
            self.handle_close()

    def flush(self) -> None:
        """Send what can be sent now; the loop sends the rest."""
        with self.outbuf_lock:
            self._flush_exception(self._flush_some, do_close=False)

    def handle_write(self) -> None:
        if self.will_close or not self.close_when_flushed:
            super().handle_write()
            return
        self._flush_exception(self._flush_some)
        if self.will_close:
            self.handle_close()
        elif self.connected and not self.total_outbufs_len:
            # Everything is sent: close this half, and read what the client still sends.
            self.lingers_since = time.monotonic()
            try:
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:
                self.handle_close()

    def handle_error(self) -> None:
        """Close the connection. waitress's own log line would contain the client's address."""
        kind = wasyncore.compact_traceback()[1]
        self.logger.error("a connection was closed after %s", getattr(kind, "__name__", kind))
        self.handle_close()

    def is_overdue(self, now: float, patience: float, keep_alive: float) -> bool:
        """Whether the client has exceeded its time for a request, for taking an answer, or for being idle."""
        if self.lingers_since is not None:
            return now - self.lingers_since > LINGER
        if self.total_outbufs_len:
            if self.sending_since is None:
                self.sending_since, self.sent = now, 0
            return now - self.sending_since > patience + self.sent / LEAST_RATE
        self.sending_since = None
        if self.requests:
            self.idle_since = now
            return False
        if self.request is not None:
            self.idle_since = now
            return bool(now - self.request.began > patience + self.request.body_bytes_received / LEAST_RATE)
        return now - self.idle_since > keep_alive and not self.has_arrivals()

    def has_arrivals(self) -> bool:
        """Whether the client has sent something that has not been read yet.

        A connection that seems idle may be one that a busy worker has not looked at for a while.
        """
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(0))


class Settings(Adjustments):  # type: ignore[misc]
    """waitress's settings, and the application's body limit."""

    def __init__(self, body_limit: Any, **named: Any) -> None:
        super().__init__(**named)
        self.body_limit = body_limit


class _Server:
    """What servers on TCP and UNIX sockets share."""

    channel_class = Channel
    is_stopping = False
    in_connection_overflow: bool
    # Seconds for which an idle connection is kept open.
    keep_alive = 5.0
    active_channels: dict[int, Channel]
    trigger: Any
    _map: Watched

    def pull_trigger(self) -> None:
        """Wake the loop if it has something to do; waitress does so after each answer."""
        if self._map.has_changes:
            self.trigger.pull_trigger()

    def maintenance(self, now: float) -> None:
        """Close the connections of slow clients, sooner if there are too many."""
        patience, keep_alive = (HURRY, HURRY) if self.in_connection_overflow else (PATIENCE, self.keep_alive)
        clock = time.monotonic()
        for channel in list(self.active_channels.values()):
            if channel.is_overdue(clock, patience, keep_alive):
                channel.handle_close()


class TcpServer(_Server, TcpWSGIServer):  # type: ignore[misc]
    pass


class UnixServer(_Server, UnixWSGIServer):  # type: ignore[misc]
    pass


class WebWorker(Worker):  # type: ignore[misc]
    """A gunicorn process in which waitress serves requests."""

    def run(self) -> None:
        """Serve until gunicorn stops the worker or ends itself, then finish the open requests."""
        dispatcher = Dispatcher(self.cfg.threads)
        sockets = Watched()
        servers = [self._server(listener.sock, dispatcher, sockets) for listener in self.sockets]
        while self.alive and self.ppid == os.getppid():
            self.notify()
            for server in servers:
                sockets.attend(server)
            sockets.handle_events(TURN)
        self._stop(servers, sockets)

    def _server(self, listener: socket.socket, dispatcher: Dispatcher, sockets: Watched) -> Any:
        adjustments = Settings(
            getattr(self.wsgi, "body_limit", lambda path: 1024 * 1024),
            sockets=[listener],
            ident="",
            connection_limit=min(self.cfg.worker_connections, files_at_most() - FILES_OF_ITS_OWN),
            # Check every second.
            cleanup_interval=1,
            recv_bytes=64 * 1024,
            send_bytes=64 * 1024,
            inbuf_overflow=MEMORY_BYTES,
            outbuf_overflow=MEMORY_BYTES,
            outbuf_high_watermark=ANSWER_MAX_BYTES,
            max_request_header_size=HEAD_MAX_BYTES,
            # core.client_address decides which proxies to trust.
            clear_untrusted_proxy_headers=False,
            log_socket_errors=False,
        )
        # Connections inherit this. Without it, the kernel buffers megabytes for a client that does not read.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
        is_unix = listener.family == socket.AF_UNIX
        server = (UnixServer if is_unix else TcpServer)(
            self.wsgi,
            sockets,
            _sock=listener,
            dispatcher=dispatcher,
            adj=adjustments,
            bind_socket=False,
            sockinfo=(listener.family, listener.type, listener.proto, listener.getsockname()),
        )
        server.keep_alive = self.cfg.keepalive
        return server

    def _stop(self, servers: list[Any], sockets: Watched) -> None:
        started = time.monotonic()
        for server in servers:
            # Whom the system has let in is answered. Whoever comes now is refused at once, and can ask
            # another server instead of waiting here for nothing.
            while is_readable(server.socket):
                server.handle_accept()
            server.accepting, server.is_stopping = False, True
            server.del_channel(sockets)
            server.socket.close()
        while (waited := time.monotonic() - started) < self.cfg.graceful_timeout:
            self.notify()
            channels = [channel for server in servers for channel in server.active_channels.values()]
            for channel in channels:
                has_work = channel.requests or channel.total_outbufs_len or channel.request is not None
                is_silent = waited > STOP_LINGER and not channel.has_arrivals()
                if not has_work and (is_silent or channel.lingers_since is not None):
                    channel.handle_close()
            if not any(server.active_channels for server in servers):
                return
            for server in servers:
                server.maintenance(0)
            sockets.handle_events(0.2)


def is_readable(own: socket.socket) -> bool:
    """Whether something has come in on the socket. Asks the operating system."""
    poll = select.poll()
    poll.register(own.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def files_at_most() -> int:
    """How many files this process can open, after raising the soft limit (often 1024) to the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else 1_000_000
