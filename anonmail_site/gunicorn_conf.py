"""gunicorn's settings (`gunicorn -c python:anonmail_site.gunicorn_conf anonmail_site.wsgi`)."""

import os
import socket
import struct
from typing import Any

from core.logs import logging_config

# What this process and its workers write is private to this user, whoever starts it.
os.umask(0o077)

bind = f"{os.environ.get('HOST', '127.0.0.1')}:{os.environ.get('PORT', '8000')}"
workers = int(os.environ.get("WEB_WORKERS", "2"))
# Threads, so that a slow client or a waiting commit does not stop the others of its worker.
worker_class = "gthread"
threads = int(os.environ.get("WEB_THREADS", "16"))
keepalive = 5
# Seconds that a client may be silent in the middle of a request before its thread goes on without it.
SILENCE_MAX = 10
graceful_timeout = 20
# Octets: gunicorn's maximum. Password managers put whole page addresses into the request line.
limit_request_line = 8190
# TRUSTED_PROXIES rules what a proxy may say (core.proxies); gunicorn must not believe anyone first.
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}
# Nothing here runs it from outside, so there is no socket for that.
control_socket_disable = True
# No access log: its lines would hold client addresses and query strings.
accesslog = None
logconfig_dict = logging_config(os.environ.get("LOG_LEVEL", "INFO"))


def when_ready(server: Any) -> None:
    """Let no silent client hold a thread: the kernel ends a read that waits too long (SO_RCVTIMEO).

    Connections take the option over from the socket that they were accepted on.
    """
    for listener in server.LISTENERS:
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", SILENCE_MAX, 0))
