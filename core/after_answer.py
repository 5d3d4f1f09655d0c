"""Tasks that run after the answer, so that the answer's timing reveals nothing about them.

Threads of this process run them; there is no separate queue. A killed process loses its waiting tasks, so
this is only for what people ask for again if it does not arrive.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from django.db import close_old_connections
from django.utils import translation

from core.db.availability import is_unavailable
from core.sparing_logs import warn_sparingly

logger = logging.getLogger(__name__)

# Per process. An unreachable mail server holds a thread for EMAIL_TIMEOUT.
THREADS = 4
WAITING_MAX = 200

_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="after-answer")
_places = threading.BoundedSemaphore(WAITING_MAX)


def do_after_answer(act: Callable[[], object]) -> bool:
    """Run `act` soon, in the current language. False if too many tasks wait already: it will not run.

    What it raises is logged.
    """
    if not _places.acquire(blocking=False):
        return False
    language = translation.get_language()

    def run() -> None:
        close_old_connections()
        try:
            with translation.override(language):
                act()
        except OSError as error:
            warn_sparingly(logger, "mail not sent after an answer: %s", type(error).__name__)
        except Exception as error:
            if is_unavailable(error):
                warn_sparingly(logger, "database away after an answer: %s", type(error).__name__)
            else:
                logger.exception("a task after an answer failed")
        finally:
            close_old_connections()
            _places.release()

    start(run)
    return True


def start(run: Callable[[], None]) -> None:
    """Run it in a thread; tests replace this to run it at once."""
    _pool.submit(run)
