"""Foreign keys that the database follows by itself when a row is deleted.

Django follows `on_delete` in Python, so that code which does not know a table does not: while machines are
upgraded one after the other, or the release before is put back, it could not delete a person who has a row in a
table that is new. A new table's migration therefore ends with `DeleteInDatabase` for each of its foreign keys.
"""

import re
import time
from datetime import timedelta
from typing import Any

from django.db import OperationalError, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.transaction import atomic

from core.db.locks import has_waited_in_vain

# Less than PostgreSQL's deadlock_timeout (a second): the migration gives way, and never a request.
LOCK_WAIT = timedelta(milliseconds=400)
LOCK_PAUSE = timedelta(seconds=1)
# A dump of the database keeps its tables for as long as it reads.
LOCK_PATIENCE = timedelta(minutes=20)


def action_of(field: "models.ForeignKey[Any, Any]") -> str:
    """What SQL calls the field's `on_delete`; "" if the database is to refuse, as it does by default."""
    return {models.CASCADE: "CASCADE", models.SET_NULL: "SET NULL"}.get(field.remote_field.on_delete, "")


class DeleteInDatabase(Operation):
    """Have the database do what the field's `on_delete` says, if it is CASCADE or SET_NULL.

    On PostgreSQL, the tables are locked for a moment, once nobody else has them; to wait for that without
    keeping others waiting, the migration must have `atomic = False`. A later operation that makes the foreign
    key anew (AlterField; on SQLite, any that changes the table) takes it away: repeat this one after it.
    """

    reduces_to_sql = True

    def __init__(self, model_name: str, name: str) -> None:
        self.model_name, self.name = model_name, name

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Django's models say so already."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        field = self._field(app_label, to_state)
        _make_anew(schema_editor, field, action_of(field))

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        _make_anew(schema_editor, self._field(app_label, to_state), "")

    def describe(self) -> str:
        return f"Have the database follow {self.model_name}.{self.name} when a row is deleted"

    @property
    def migration_name_fragment(self) -> str:
        return f"{self.model_name.lower()}_{self.name}_in_database"

    def _field(self, app_label: str, state: ProjectState) -> "models.ForeignKey[Any, Any]":
        field = state.apps.get_model(app_label, self.model_name)._meta.get_field(self.name)
        assert isinstance(field, models.ForeignKey)
        return field


def _make_anew(editor: BaseDatabaseSchemaEditor, field: "models.ForeignKey[Any, Any]", action: str) -> None:
    if editor.connection.vendor == "postgresql":
        _make_anew_on_postgresql(editor, field, action)
    elif editor.collect_sql:
        editor.collected_sql.append("-- The definition is read, changed and written.")
    else:
        _make_anew_on_sqlite(editor, field, action)


def _make_anew_on_postgresql(
    editor: BaseDatabaseSchemaEditor, field: "models.ForeignKey[Any, Any]", action: str
) -> None:
    """Raises OperationalError if others keep the tables for longer than LOCK_PATIENCE."""
    table, column, to_table, to_column = (
        editor.quote_name(name)
        for name in (
            field.model._meta.db_table,
            field.column,
            field.target_field.model._meta.db_table,
            field.target_field.column,
        )
    )
    name = editor._fk_constraint_name(field.model, field, "_fk_%(to_table)s_%(to_column)s")
    deadline = time.monotonic() + LOCK_PATIENCE.total_seconds()
    while True:
        try:
            with atomic(editor.connection.alias):
                editor.execute(f"SET LOCAL lock_timeout = {LOCK_WAIT // timedelta(milliseconds=1)}")
                editor.execute(
                    f"ALTER TABLE {table} DROP CONSTRAINT {name}, ADD CONSTRAINT {name}"
                    f" FOREIGN KEY ({column}) REFERENCES {to_table} ({to_column})"
                    f"{action and f' ON DELETE {action}'} DEFERRABLE INITIALLY DEFERRED"
                )
                return
        except OperationalError as error:
            if not has_waited_in_vain(error) or time.monotonic() > deadline:
                raise
        time.sleep(LOCK_PAUSE.total_seconds())


def _make_anew_on_sqlite(
    editor: BaseDatabaseSchemaEditor, field: "models.ForeignKey[Any, Any]", action: str
) -> None:
    """The table's definition is changed in place: https://sqlite.org/lang_altertable.html, section 7, the second
    way, which is for what does not touch the rows. Raises LookupError if it is not as Django makes it."""
    table, column = field.model._meta.db_table, field.column
    refers = re.compile(
        rf'("{re.escape(column)}" [^,]* REFERENCES "[^"]+" \("[^"]+"\))(?: ON DELETE [A-Z ]+?)?( DEFERRABLE)'
    )
    with atomic(editor.connection.alias), editor.connection.cursor() as cursor:
        cursor.execute("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = %s", [table])
        [made] = cursor.fetchone()
        cursor.execute("PRAGMA schema_version")
        [version] = cursor.fetchone()
        changed, found = refers.subn(rf"\1{action and f' ON DELETE {action}'}\2", made)
        if found != 1:
            raise LookupError(f"{table}.{column}")
        cursor.execute("PRAGMA writable_schema = ON")
        try:
            cursor.execute(
                "UPDATE sqlite_schema SET sql = %s WHERE type = 'table' AND name = %s", [changed, table]
            )
        finally:
            cursor.execute("PRAGMA writable_schema = OFF")
        # Whoever has the database open reads the definition anew when this has changed.
        cursor.execute(f"PRAGMA schema_version = {version + 1}")
