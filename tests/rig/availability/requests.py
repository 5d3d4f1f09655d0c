"""What apps ask of the API while something breaks, and what came of it."""

import http.client
import itertools
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

# A client that has waited so many seconds gives up.
PATIENCE = 30
THREADS = 4
# Every so many requests are lists; the others create.
LIST_EACH = 4


@dataclass
class Load:
    """Creates and lists aliases over kept connections; asks nothing a second time."""

    port: int
    api_key: str
    pause: float = 0.05
    created: list[str] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    # When each request was answered well, in time.monotonic()
    answered: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._end = threading.Event()
        self._numbers = itertools.count()
        self._threads = [threading.Thread(target=self._ask) for _ in range(THREADS)]

    @property
    def asked(self) -> int:
        """How many requests were made and have ended."""
        return len(self.answered) + self.failures.total()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask nothing more, and wait for what was asked."""
        self._end.set()
        for thread in self._threads:
            thread.join(PATIENCE + 10)

    def longest_pause(self) -> float:
        """The most seconds in which nothing was answered well."""
        return longest_pause(self.answered)

    def _ask(self) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self._end.is_set():
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
            try:
                self._ask_once(connection, next(self._numbers))
            except (OSError, http.client.HTTPException) as error:
                self.failures[type(error).__name__] += 1
                connection.close()
                connection = None
            self._end.wait(self.pause)
        if connection is not None:
            connection.close()

    def _ask_once(self, connection: http.client.HTTPConnection, number: int) -> None:
        headers = {"Authentication": self.api_key}
        is_list = number % LIST_EACH == 0
        if is_list:
            connection.request("GET", "/api/v2/aliases?page_id=0", headers=headers)
        else:
            connection.request(
                "POST", f"/api/alias/random/new?hostname=shop{number}.example", headers=headers
            )
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != (200 if is_list else 201):
            self.failures[str(answer.status)] += 1
            return
        if not is_list:
            self.created.append(json.loads(body)["alias"])
        self.answered.append(time.monotonic())


def longest_pause(moments: list[float]) -> float:
    """The most seconds between two of these moments."""
    return max((later - earlier for earlier, later in itertools.pairwise(sorted(moments))), default=0.0)
