"""Settings that are URLs: the database, and how the site's own mail goes out."""

import warnings
from collections.abc import Callable
from typing import Any

from anonmail_site.environment import BASE_DIR, MISREAD, env

# URL schemes of files, and the key under which the parsed URL has the path.
FILE_PATHS = {"sqlite": "NAME", "filemail": "EMAIL_FILE_PATH"}


def make_path_absolute(name: str, found: dict[str, Any]) -> str:
    """Make a relative path in a file's URL start at BASE_DIR, whatever the current directory is.

    Returns what to write instead if the URL is invalid (after two slashes, the first folder would be
    read as a host), or "".
    """
    scheme, _colon, rest = env.str(name, default="").partition(":")
    key = FILE_PATHS.get(scheme)
    if key is None or found[key] == ":memory:":
        return ""
    if not rest.startswith("///") or not found[key]:
        return f"Write {scheme}:/// and a path, as {scheme}:///var/name or {scheme}:////srv/name."
    found[key] = str(BASE_DIR / found[key])
    return ""


def url(reader: Callable[..., Any], name: str, default: str, needs: str) -> Any:
    """The configuration that a URL in the environment describes, or the default's.

    A URL that is invalid, or whose configuration has no `needs`, is noted in MISREAD.
    """
    problem = ""
    try:
        with warnings.catch_warnings():
            # django-environ's warning would print the password.
            warnings.simplefilter("ignore")
            found = reader(name, default=default)
        if found.get(needs) and not (problem := make_path_absolute(name, found)):
            return found
    except Exception:  # noqa: S110 - the parsers raise all kinds of exceptions
        pass
    MISREAD[name] = problem or "Write a URL as in .env.example."
    return reader("", default=default)


def database(default: str, pool_size: int) -> dict[str, Any]:
    """Where the database is, by DATABASE_URL or else by the default, and how Django connects to it.

    Each process keeps at most `pool_size` connections to PostgreSQL.
    """
    found: dict[str, Any] = url(env.db_url, "DATABASE_URL", default, "ENGINE")
    options = found.setdefault("OPTIONS", {})
    if found["ENGINE"] == "django.db.backends.postgresql":
        found["ENGINE"] = "core.db.postgresql"
        # timeout: seconds that a request waits for a connection before it is answered 503.
        options.setdefault("pool", {"min_size": 1, "max_size": pool_size, "timeout": 5})
        # The server keeps the plans of repeated statements. Off by itself where PgBouncer is found.
        if env.bool("DATABASE_PREPARE", default=True):
            options.setdefault("server_side_binding", True)
            options.setdefault("prepare_threshold", 5)
        # Seconds until an unreachable server counts as down, instead of the system's two minutes
        options.setdefault("connect_timeout", 3)
        # Milliseconds until a server that no longer acknowledges anything counts as down (libpq).
        options.setdefault("tcp_user_timeout", 10_000)
        # Seconds until an idle connection to a server that has vanished counts as closed.
        options.setdefault("keepalives_idle", 10)
        options.setdefault("keepalives_interval", 3)
        options.setdefault("keepalives_count", 3)
    elif found["ENGINE"] == "django.db.backends.sqlite3":
        found["ENGINE"] = "core.db.sqlite"
        # Each thread keeps its connection: opening the file and the PRAGMAs cost more than the statements.
        found.setdefault("CONN_MAX_AGE", None)
        # WAL: readers and a writer at the same time. FULL: a commit survives a power failure.
        # IMMEDIATE: a transaction waits for the lock at its start, the only point where SQLite can wait.
        options.setdefault("transaction_mode", "IMMEDIATE")
        options.setdefault("timeout", 20)
        options.setdefault("init_command", "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;")
    return found
