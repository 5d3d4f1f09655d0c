"""How a transaction begins and ends on a connection, at less than Django's own price."""

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper


class QuickTransactions(BaseDatabaseWrapper):
    """A database's wrapper, for which `_begin` begins a transaction on a connection without one.

    Django looks several times at each step whether there is a connection, whether a coroutine runs in this
    thread, and whether somebody sees the statements. Its Atomic, with savepoints, hooks and errors, stays.
    """

    connection: Any
    health_check_enabled: bool

    @property
    def is_watched(self) -> bool:
        """Whether somebody wants to see the statements, which Django's own cursors show them."""
        return bool(self.execute_wrappers or self.queries_logged)

    def set_autocommit(
        self, autocommit: bool, force_begin_transaction_with_broken_autocommit: bool = False
    ) -> None:
        if (
            self.connection is None
            or self.in_atomic_block
            or self.health_check_enabled
            or self.is_watched
            or not (autocommit or force_begin_transaction_with_broken_autocommit)
        ):
            super().set_autocommit(autocommit, force_begin_transaction_with_broken_autocommit)
            return
        if autocommit:
            self._set_autocommit(True)  # type: ignore[attr-defined]
        else:
            self._begin()
        self.autocommit = autocommit
        if autocommit and self.run_commit_hooks_on_set_autocommit_on:
            self.run_and_clear_commit_hooks()
            self.run_commit_hooks_on_set_autocommit_on = False

    def _begin(self) -> None:
        raise NotImplementedError
