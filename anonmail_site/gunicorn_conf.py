"""gunicorn's settings (`gunicorn -c python:anonmail_site.gunicorn_conf anonmail_site.wsgi`)."""

import os
from typing import Any

from core.logs import logging_config
from core.supervised import end_with_supervisor

# Files that this process and its workers write are private to this user.
os.umask(0o077)

bind = f"{os.environ.get('HOST', '127.0.0.1')}:{os.environ.get('PORT', '8000')}"
workers = int(os.environ.get("WEB_WORKERS", "2"))
# Threads, so that a request that waits for a commit does not block the worker's other requests.
worker_class = "anonmail_site.web_worker.WebWorker"
# Clients that one worker serves at the same time.
worker_connections = 2000
threads = int(os.environ.get("WEB_THREADS", "16"))
keepalive = 5
graceful_timeout = 20
# gunicorn is not controlled from outside.
control_socket_disable = True
# An access log would contain client addresses and query strings.
accesslog = None
logconfig_dict = logging_config(os.environ.get("LOG_LEVEL", "INFO"), os.environ.get("LOG_FORMAT", "text"))


def on_starting(server: Any) -> None:
    """Make gunicorn stop when `runall` ends, however it ends."""
    end_with_supervisor()
