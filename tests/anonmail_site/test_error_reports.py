"""What a Sentry server would get: a process of its own reports errors to one that listens here."""

import gzip
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
# A request with all that must not be sent fails in the middle of a view; then an error is logged with words.
FAILS = """
import io, logging
from anonmail_site.wsgi import application
import api.simplelogin.aliases as aliases
def fail(**given):
    secret = "word-of-a-variable"
    raise ValueError(f"word-of-the-error {given['hostname']} carol@example.com")
aliases.issue = fail
import tokens.authentication
from tokens.models import Token
from tokens.scopes import EVERYTHING
from accounts.models import User
_token, key = Token.objects.issue(owner=User.objects.get(), name="t", scopes=EVERYTHING)
body = b'{"note": "word-of-the-body"}'
environ = {
    "REQUEST_METHOD": "POST", "PATH_INFO": "/api/alias/random/new", "SERVER_NAME": "localhost",
    "QUERY_STRING": "hostname=word-of-the-query.example", "SERVER_PORT": "8000", "wsgi.url_scheme": "http",
    "HTTP_AUTHENTICATION": f"admin@example.com:{key}", "HTTP_COOKIE": "sessionid=word-of-the-cookie",
    "HTTP_HOST": "localhost", "HTTP_USER_AGENT": "word-of-the-browser", "REMOTE_ADDR": "192.0.2.77",
    "CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body),
    "wsgi.errors": io.StringIO(),
}
statuses = []
list(application(environ, lambda status, headers: statuses.append(status)))
print(key, *statuses)
logging.getLogger("word").error("alias %s of dave@example.com: %s", 17, "word-of-an-argument")
logging.getLogger("word").warning("word-of-a-warning")
try:
    {"word-of-a-key": 1}["erin@example.com"]
except KeyError:
    logging.getLogger("word").exception("it failed")
"""


class Sentry(BaseHTTPRequestHandler):
    received: list[bytes]
    headers_received: list[str]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        is_packed = self.headers.get("Content-Encoding") == "gzip"
        self.received.append(gzip.decompress(body) if is_packed else body)
        self.headers_received.append(str(self.headers))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def sentry() -> Iterator[tuple[str, type[Sentry]]]:
    handler = type("Received", (Sentry,), {"received": [], "headers_received": []})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://public@127.0.0.1:{server.server_port}/1", handler
        server.shutdown()
        thread.join()


def run(directory: Path, command: list[str], **more: str) -> "subprocess.CompletedProcess[str]":
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "ENV_FILE": "",
        "VAR_DIR": str(directory / "var"),
        "DJANGO_SETTINGS_MODULE": "anonmail_site.settings",
    }
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment | more,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def events(received: list[bytes]) -> list[dict[str, Any]]:
    """The events in envelopes: a line about the envelope, then for each item a line about it and its own."""
    lines = [line for body in received for line in body.splitlines()]
    return [
        json.loads(item)
        for about, item in zip(lines, lines[1:], strict=False)
        if json.loads(about).get("type") == "event"
    ]


@pytest.mark.sqlite
def test_errors_are_reported_without_what_they_were_about(
    tmp_path: Path, sentry: tuple[str, type[Sentry]]
) -> None:
    dsn, server = sentry
    run(tmp_path, ["manage.py", "prepare"])

    done = run(tmp_path, ["-c", FAILS], SENTRY_DSN=dsn)

    key, status = done.stdout.split(maxsplit=1)
    assert status.startswith("500")
    # Django logs the error, and then the answer.
    failed, _answered, logged, caught = events(server.received)
    assert failed["exception"]["values"][-1]["type"] == "ValueError"
    frames = failed["exception"]["values"][-1]["stacktrace"]["frames"]
    assert [frame["function"] for frame in frames][-2:] == ["post", "fail"]
    assert any("alias = issue(" in frame["context_line"] for frame in frames)
    assert logged["logentry"]["message"] == "alias %s of [address]: %s"
    assert caught["exception"]["values"][-1]["type"] == "KeyError"
    # The script is in the argument of -c, and not in a file whose lines could be sent.
    sent = b"\n".join([*server.received, *(text.encode() for text in server.headers_received)]).decode()
    private = [key, "word-of", "@example.com", "192.0.2.77", "sessionid", os.uname().nodename, str(tmp_path)]
    assert [word for word in private if word in sent] == []


@pytest.mark.sqlite
def test_nothing_is_sent_by_default(tmp_path: Path, sentry: tuple[str, type[Sentry]]) -> None:
    _dsn, server = sentry
    run(tmp_path, ["manage.py", "prepare"])

    done = run(tmp_path, ["-c", f"{FAILS}\nimport sys\nprint('sentry_sdk' in sys.modules)"], SENTRY_DSN="")

    assert done.stdout.splitlines()[-1] == "False"
    assert server.received == []
