"""gunicorn's settings (`gunicorn -c python:anonmail_site.gunicorn_conf anonmail_site.wsgi`).

If `manage.py serve` or systemd gives it sockets, gunicorn serves at those instead of at `bind`.
"""

import gc
import os
from typing import Any

from anonmail_site.environment import LOG_FORMAT, LOG_LEVEL, MISREAD, WEB_PLACE, WEB_THREADS, WEB_WORKERS
from core.listening import SOCKET_MODE
from core.logs import logging_config
from core.supervised import end_with_supervisor, report_serving

# Files that this process and its workers write are private to this user.
os.umask(0o077)

if MISREAD:
    raise SystemExit("\n".join(f"{name} is invalid. {hint}" for name, hint in MISREAD.items()))

bind = str(WEB_PLACE)
# A UNIX socket's mode.
umask = 0o777 & ~SOCKET_MODE
workers = WEB_WORKERS
# Threads, so that a request that waits for a commit does not block the worker's other requests.
worker_class = "anonmail_site.web_worker.WebWorker"
# Clients that one worker serves at the same time.
worker_connections = 2000
threads = WEB_THREADS
# The site is loaded once, before the workers are forked, and they share its memory.
preload_app = True
keepalive = 5
graceful_timeout = 20
# gunicorn is not controlled from outside.
control_socket_disable = True
# An access log would contain client addresses and query strings.
accesslog = None
logconfig_dict = logging_config(LOG_LEVEL, LOG_FORMAT)


def on_starting(server: Any) -> None:
    """Make gunicorn stop when its supervisor ends, however it ends."""
    end_with_supervisor()


def when_ready(server: Any) -> None:
    """Let the garbage collectors pass over what is loaded.

    They write to each object that they look at, so every worker would soon have its own copy of it.
    """
    gc.collect()
    gc.freeze()


def post_worker_init(worker: Any) -> None:
    """Tell the supervisor that a worker has loaded the site."""
    report_serving()
