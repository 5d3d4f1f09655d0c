"""gunicorn's settings (`gunicorn -c python:anonmail_site.gunicorn_conf anonmail_site.wsgi`)."""

import os
from typing import Any

from core.logs import logging_config
from core.parent import end_with_supervisor

# What this process and its workers write is private to this user, whoever starts it.
os.umask(0o077)

bind = f"{os.environ.get('HOST', '127.0.0.1')}:{os.environ.get('PORT', '8000')}"
workers = int(os.environ.get("WEB_WORKERS", "2"))
# Threads, so that a waiting commit does not stop the others of its worker. Slow clients hold none.
worker_class = "anonmail_site.web_worker.WebWorker"
# Clients that one worker talks to at once.
worker_connections = 2000
threads = int(os.environ.get("WEB_THREADS", "16"))
keepalive = 5
graceful_timeout = 20
# Nothing here runs it from outside, so there is no socket for that.
control_socket_disable = True
# No access log: its lines would hold client addresses and query strings.
accesslog = None
logconfig_dict = logging_config(os.environ.get("LOG_LEVEL", "INFO"))


def on_starting(server: Any) -> None:
    """Before anything is served: stop when `runall` is gone, however it ended."""
    end_with_supervisor()
