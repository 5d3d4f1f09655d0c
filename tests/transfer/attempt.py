"""What the tests of an import share."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from accounts.models import User
from aliases.models import Alias
from transfer.checking import check, clean
from transfer.making import ImportRefused, make
from transfer.rows import Problem, Row


@dataclass
class Attempt:
    """Rows that somebody tries to import."""

    owner: User
    rows: list[Row]

    def check(self, *, by_admin: bool = False) -> list[Problem]:
        return check(self.rows, lambda row: self.owner, by_admin=by_admin)

    def make(self, *, by_admin: bool = False) -> int:
        return make(self.rows, lambda row: self.owner, by_admin=by_admin)

    def problems(self) -> list[tuple[int, str]]:
        """What is wrong, as the refusal says it; nothing may have been made, and the check says the same."""
        before = Alias.objects.count()
        with pytest.raises(ImportRefused) as refusal:
            self.make()
        assert Alias.objects.count() == before
        assert self.check() == refusal.value.problems
        return [(problem.line, problem.reason) for problem in refusal.value.problems]


def attempt(owner: User, rows: Iterable[Row]) -> Attempt:
    return Attempt(owner, clean(rows))


def of(owner: User, *addresses: str, **values: Any) -> Attempt:
    """Rows with these addresses, on lines 2 and following."""
    return attempt(owner, [Row(line, address, **values) for line, address in enumerate(addresses, 2)])
