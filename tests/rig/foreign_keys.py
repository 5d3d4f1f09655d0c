"""What the database itself does with a row when the one that it refers to is deleted."""

from django.db import connection

# By pg_constraint.confdeltype.
_ACTIONS = {"a": "", "c": "CASCADE", "n": "SET NULL"}


def actions(table: str) -> dict[str, str]:
    """CASCADE, SET NULL or "" (it refuses the deletion) by the column of each foreign key of the table."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(f"PRAGMA foreign_key_list({table})")
            return {row[3]: "" if row[6] == "NO ACTION" else row[6] for row in cursor.fetchall()}
        cursor.execute(
            "SELECT attname, confdeltype FROM pg_constraint"
            " JOIN pg_attribute ON attrelid = conrelid AND attnum = conkey[1]"
            " WHERE contype = 'f' AND conrelid = %s::regclass",
            [table],
        )
        return {column: _ACTIONS[action] for column, action in cursor.fetchall()}
