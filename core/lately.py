"""What happened in this process a moment ago."""

import time
from collections import OrderedDict
from collections.abc import Hashable
from datetime import timedelta


class Lately:
    """The keys that were noted within the last `period`, at most the latest `most`."""

    def __init__(self, period: timedelta, most: int = 10_000) -> None:
        self.period = period.total_seconds()
        self.most = most
        self._noted: OrderedDict[Hashable, float] = OrderedDict()

    def note(self, key: Hashable) -> None:
        # Several threads note: another one may drop the key at any moment.
        self._noted.pop(key, None)
        self._noted[key] = time.monotonic()
        while len(self._noted) > self.most:
            self._noted.popitem(last=False)

    def __contains__(self, key: Hashable) -> bool:
        noted = self._noted.get(key)
        return noted is not None and time.monotonic() - noted < self.period
