"""A server of web hooks on this machine, over TLS: what it was sent, and what it answers."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from standardwebhooks import Webhook

from tests.rig.certificates import pair

HOST = "hooks.example.net"


@dataclass
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    def verified(self, secret: str) -> Any:
        """The message, if the reference implementation of Standard Webhooks accepts its signature. Raises
        WebhookVerificationError."""
        return Webhook(secret).verify(self.body, self.headers)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Receiver:
    """`answers`: the statuses of the next answers, in turn; after that, 204. `before`: called for each
    request before it is answered."""

    authorities: str
    port: int = 0
    got: list[Received] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    before: Callable[[BaseHTTPRequestHandler], object] = lambda handler: None

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.port}/anonmail?key=s3cr3t-of-the-url"


@contextmanager
def receiving(directory: Path, port: int = 0) -> Iterator[Receiver]:
    """A receiver at this port, or at any that is free."""
    certificate, key = pair(HOST)
    (directory / "hooks-ca.pem").write_bytes(certificate)
    (directory / "hooks.pem").write_bytes(certificate + key)
    receiver = Receiver(str(directory / "hooks-ca.pem"))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.got.append(Received(self.path, headers, body))
            receiver.before(self)
            status = receiver.answers.pop(0) if receiver.answers else 204
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", "https://169.254.169.254/latest/meta-data/")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing of clients that go away, as some tests have them do."""

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(directory / "hooks.pem")
    server = Server(("127.0.0.1", port), Handler)
    # The handshake belongs to the request's own thread.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
