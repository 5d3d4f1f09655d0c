"""The CPU time that processes have used (Linux, proc(5))."""

import os
from collections.abc import Sequence
from pathlib import Path

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def children(parent: int) -> list[int]:
    """The processes that this one has started."""
    found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in found]


def cpu_of(pids: Sequence[int]) -> float:
    """The seconds of CPU time that these processes have used (schedstat)."""
    total = 0
    for pid in pids:
        try:
            total += int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
        except OSError:
            continue  # it has ended
    return total / 1e9


def cpu_of_tree(root: int) -> float:
    """The CPU seconds of a process and all that it has started, also of those that have ended and that it,
    or one of them, has waited for (utime, stime, cutime, cstime)."""
    parents: dict[int, list[int]] = {}
    ticks: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        pid = int(stat.parent.name)
        parents.setdefault(int(fields[1]), []).append(pid)
        ticks[pid] = sum(map(int, fields[11:15]))
    total, waiting = 0, [root]
    while waiting:
        pid = waiting.pop()
        total += ticks.get(pid, 0)
        waiting += parents.get(pid, [])
    return total / _TICKS_A_SECOND


def backends() -> list[int]:
    """The processes of the PostgreSQL server that this process has started, if it has."""
    return [child for pid in children(os.getpid()) if is_postgres(pid) for child in children(pid)]


def is_postgres(pid: int) -> bool:
    return "postgres" in Path(f"/proc/{pid}/comm").read_text()
