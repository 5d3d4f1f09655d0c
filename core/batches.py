"""Long lists in parts that a statement can take."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """The items in lists of at most `size`."""
    listed = list(items)
    return (listed[start : start + size] for start in range(0, len(listed), size))
