"""Processes in groups that share the processors by weight, as systemd's units do (CPUWeight=).

With cgroups of either version. Each group counts as one, however many processes it has.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.cpu_time import children

# systemd's own weight for a unit, and the kernel's word for it in version 1.
USUAL, SHARES = 100, 1024
_VERSION_1 = Path("/sys/fs/cgroup/cpu")
_VERSION_2 = Path("/sys/fs/cgroup")


def _controller() -> tuple[Path, bool] | None:
    """Where groups can be made, and whether that is version 2; None if we may not."""
    for path, is_second in ((_VERSION_2, True), (_VERSION_1, False)):
        file = "cgroup.subtree_control" if is_second else "cpu.shares"
        if not (path / file).exists() or not os.access(path, os.W_OK):
            continue
        if not is_second or "cpu" in (path / file).read_text().split():
            return path, is_second
    return None


def can_weigh() -> bool:
    """Whether this machine lets us make groups."""
    return _controller() is not None


def _tree(root: int) -> Iterator[int]:
    yield root
    for child in children(root):
        yield from _tree(child)


@contextmanager
def weighed(groups: Mapping[str, tuple[int, tuple[int, ...]]]) -> Iterator[None]:
    """During the block, each group (by its name: its weight, and process ids) shares the processors with the
    others by weight; those that its processes start are in it."""
    found = _controller()
    if found is None:
        raise RuntimeError("no groups can be made here")
    top, is_second = found
    made: list[Path] = []
    try:
        for name, (weight, roots) in groups.items():
            group = top / f"anonmail-bench-{os.getpid()}-{name}"
            group.mkdir()
            made.append(group)
            if is_second:
                (group / "cpu.weight").write_text(str(weight))
            else:
                (group / "cpu.shares").write_text(str(weight * SHARES // USUAL))
            for pid in (each for root in roots for each in _tree(root)):
                with suppress(ProcessLookupError, OSError):
                    (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        for group in made:
            _dissolve(group, top)


def _dissolve(group: Path, top: Path) -> None:
    for _try in range(5):
        for pid in (group / "cgroup.procs").read_text().split():
            with suppress(OSError):
                (top / "cgroup.procs").write_text(pid)
        with suppress(OSError):
            group.rmdir()
            return
