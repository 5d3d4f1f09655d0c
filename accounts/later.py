"""Work that is done after the answer, so that the time of the answer tells nothing of it.

Threads of this process do it: there is no queue to run beside the server. What a killed process had not
done yet is lost, so this is for what a person asks for once more if it does not come.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from django.db import close_old_connections
from django.utils import translation

logger = logging.getLogger(__name__)

# At once in each process; a mail server that is away holds a thread for EMAIL_TIMEOUT.
THREADS = 4
WAITING_MAX = 200

_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="later")
_places = threading.BoundedSemaphore(WAITING_MAX)


def after_answer(deed: Callable[[], object]) -> bool:
    """Have `deed` done soon, in the language of now. False: too much waits already, so it will not be done.

    What it raises is logged.
    """
    if not _places.acquire(blocking=False):
        return False
    language = translation.get_language()

    def run() -> None:
        close_old_connections()
        try:
            with translation.override(language):
                deed()
        except OSError as error:
            logger.error("mail not sent after an answer: %s", type(error).__name__)
        except Exception:
            logger.exception("work after an answer failed")
        finally:
            close_old_connections()
            _places.release()

    start(run)
    return True


def start(run: Callable[[], None]) -> None:
    """Hand `run` to a thread. Tests put something in its place that runs at once."""
    _pool.submit(run)
