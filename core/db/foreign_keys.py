"""Foreign keys that the database follows by itself when a row is deleted.

Django follows `on_delete` in Python, where code that does not know a table does not. While machines are
upgraded one after the other, or once the release before is put back, it could not delete a person who has a
row in a new table. The migration of a new table therefore ends with `DeleteInDatabase` for each foreign key.
"""

import re
from typing import Any

from django.db import models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.transaction import atomic

# What SQL calls a field's `on_delete`.
_ACTIONS: dict[Any, str] = {models.CASCADE: "CASCADE", models.SET_NULL: "SET NULL"}


def action_of(field: "models.ForeignKey[Any, Any]") -> str:
    """What the database is to do; "" to refuse, as it does by default."""
    return _ACTIONS.get(field.remote_field.on_delete, "")


class DeleteInDatabase(Operation):
    """Have the database do what the field's `on_delete` says, if it is CASCADE or SET_NULL.

    An operation that makes the foreign key anew (AlterField; on SQLite, any that changes the table) takes
    this away: repeat it after that one. A migration with several of them is not `atomic`: each of them locks
    two tables.
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


def _make_anew_on_postgresql(editor: Any, field: "models.ForeignKey[Any, Any]", action: str) -> None:
    target = field.target_field
    to_table, to_column = target.model._meta.db_table, target.column
    name = editor._fk_constraint_name(field.model, field, "_fk_%(to_table)s_%(to_column)s")
    quote = editor.quote_name
    # A transaction for each: with one table locked, the next one's lock could be in the hands of somebody who
    # waits for the first.
    with atomic(editor.connection.alias):
        editor.execute(
            f"ALTER TABLE {quote(field.model._meta.db_table)} DROP CONSTRAINT {name}, ADD CONSTRAINT {name}"
            f" FOREIGN KEY ({quote(field.column)}) REFERENCES {quote(to_table)} ({quote(to_column)})"
            f"{action and f' ON DELETE {action}'} DEFERRABLE INITIALLY DEFERRED"
        )


def _make_anew_on_sqlite(
    editor: BaseDatabaseSchemaEditor, field: "models.ForeignKey[Any, Any]", action: str
) -> None:
    """Change the table's definition in place, as https://sqlite.org/lang_altertable.html (section 7) says for
    changes that leave the rows as they are. Raises LookupError if it is not as Django writes it."""
    table, column = field.model._meta.db_table, field.column
    refers = re.compile(
        rf'("{re.escape(column)}" [^,]* REFERENCES "[^"]+" \("[^"]+"\))(?: ON DELETE [A-Z ]+?)?( DEFERRABLE)'
    )
    with atomic(editor.connection.alias), editor.connection.cursor() as cursor:
        cursor.execute("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = %s", [table])
        [made] = cursor.fetchone()
        cursor.execute("PRAGMA schema_version")
        [version] = cursor.fetchone()
        changed, found = refers.subn(rf"\1{action and f' ON DELETE {action}'}\2", made)
        if found != 1:
            raise LookupError(f"{table}.{column}")
        cursor.execute("PRAGMA writable_schema = ON")
        try:
            cursor.execute(
                "UPDATE sqlite_master SET sql = %s WHERE type = 'table' AND name = %s", [changed, table]
            )
        finally:
            cursor.execute("PRAGMA writable_schema = OFF")
        # Whoever has the database open reads the definition anew when this has changed.
        cursor.execute(f"PRAGMA schema_version = {version + 1}")
