"""Whose turn it is: each hook that is to be told something gets one message before another gets two."""

from collections import Counter, deque
from collections.abc import Mapping

from hooks.models import Hook, HookMessage

# Messages to hooks of one person that are sent at once: a person's servers may all be slow.
PER_OWNER = 2


class Turns:
    """The hooks whose turn is still to come in this round, in memory: each process has its own rounds."""

    def __init__(self) -> None:
        self._coming: deque[tuple[int, int | None]] = deque()

    def take(self, number: int, busy: Mapping[int, int | None]) -> list[int]:
        """Up to this number of hooks to which something is due.

        `busy`: those to which something is being sent, with their owners. None of these, and with them at
        most PER_OWNER of a person's.
        """
        owners = Counter(owner for owner in busy.values() if owner is not None)
        chosen: list[int] = []
        passed: list[tuple[int, int | None]] = []
        is_new = False
        while len(chosen) < number:
            if not self._coming:
                if is_new:
                    break
                is_new, known = True, {*chosen, *(hook for hook, _owner in passed)}
                self._coming.extend(each for each in _with_something_due() if each[0] not in known)
                continue
            hook, owner = self._coming.popleft()
            if hook in busy or (owner is not None and owners[owner] >= PER_OWNER):
                passed.append((hook, owner))
                continue
            chosen.append(hook)
            if owner is not None:
                owners[owner] += 1
        # They are the first as soon as they may be.
        self._coming.extendleft(reversed(passed))
        return chosen


def _with_something_due() -> list[tuple[int, int | None]]:
    # Most of the time there is nothing.
    if not HookMessage.objects.due().exists():
        return []
    return list(Hook.objects.to_be_told().order_by("pk").values_list("pk", "owner"))
