"""What the environment and the file `.env` say. gunicorn's parent process reads this too, without Django.

Each NAME can also be given as NAME_FILE, the path of a file that contains the value. The values of `.env` do
not enter os.environ: child processes would inherit them, and a process that is started after a change would
not see it.
"""

import io
import logging
import os
import re
from pathlib import Path
from typing import Any

import environ
from environ.fileaware_mapping import FileAwareMapping

from core.disk import why
from core.listening import Endpoint, endpoint

_LINE = re.compile(r"(?:export )?[A-Za-z_0-9]+=")


class _Values(FileAwareMapping):  # type: ignore[misc]
    def __getitem__(self, key: str) -> str:
        try:
            value: str = super().__getitem__(key)
        except (OSError, UnicodeDecodeError) as error:
            reason = why(error) if isinstance(error, OSError) else "its file is not text in UTF-8."
            raise SystemExit(f"{key}_FILE cannot be read: {reason}") from error
        # django-environ takes a value that begins with a dollar sign for the name of another one: of a key
        # or a password, nothing would be left. What is escaped, it takes as it is.
        return value.replace("$", r"\$")


class _Environment(environ.FileAwareEnv):  # type: ignore[misc]
    """A copy of the process's environment."""

    ENVIRON = _Values(env=dict(os.environ))

    def __init__(self) -> None:
        super().__init__()
        self.escape_proxy = True


def read_text(path: Path) -> str:
    """The file's text. Ends the process, with a sentence, if there is one that cannot be read.

    Raises FileNotFoundError. To go on without the file could mean another database, or another key.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SystemExit(f"This file cannot be read: {why(error, path)}") from error
    except UnicodeDecodeError as error:
        raise SystemExit(f"{path} is not text in UTF-8.") from error


env = _Environment()

_package = Path(__file__).resolve().parent
# The wheel has templates, static files and translations inside this package, a checkout beside it.
_is_installed = (_package / "resources").is_dir()
RESOURCES = _package / "resources" if _is_installed else _package.parent
# The installation's directory, with `.env` and VAR_DIR: ANONMAIL_DIR, or else the checkout, or the directory
# in which the installed command is run.
BASE_DIR = Path(env.str("ANONMAIL_DIR", default="") or (Path.cwd() if _is_installed else RESOURCES)).resolve()


def _read_env_file(path: Path) -> None:
    """Add the file's values to those of the environment, which win."""
    try:
        text = read_text(path)
    except FileNotFoundError as error:
        if "ENV_FILE" not in os.environ:
            return
        raise SystemExit(f"There is no file {path}, which ENV_FILE names.") from error
    lines = text.splitlines()
    values = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    for line in values:
        if not _LINE.match(line):
            # The line itself may hold a password.
            number = lines.index(line) + 1
            raise SystemExit(f"Line {number} of {path} is not NAME=value (without spaces around the =).")
    env.read_env(io.StringIO("\n".join(values)))


_named = os.environ.get("ENV_FILE")
# Where the settings file is, or would be; None if there is to be none.
ENV_FILE = None if _named == "" else Path(_named or BASE_DIR / ".env")
if ENV_FILE:
    _read_env_file(ENV_FILE)

# Settings with an invalid value, and what to write instead. A system check reports them all at once.
MISREAD: dict[str, str] = {}


def number(name: str, default: int) -> int:
    """The whole number in the environment, or the default. An invalid value is noted in MISREAD."""
    try:
        return int(env.str(name, default="") or default)
    except ValueError:
        MISREAD[name] = "Write a whole number."
        return default


# --- The web server -----------------------------------------------------------------------------

PORT = number("PORT", 8000)


def _web_place() -> Endpoint:
    """Where the web server listens: WEB_LISTEN, or else HOST and PORT."""
    host, listen = env.str("HOST", default="127.0.0.1"), env.str("WEB_LISTEN", default="")
    try:
        return endpoint(listen or f"{host}:{PORT}")
    except ValueError as error:
        MISREAD["WEB_LISTEN" if listen else "PORT"] = str(error)
        return Endpoint("127.0.0.1", 8000)


WEB_PLACE = _web_place()
WEB_WORKERS: int = number("WEB_WORKERS", 2)
# Threads of each web process.
WEB_THREADS: int = number("WEB_THREADS", 16)
# Seconds for which a server that is told to stop goes on serving, and is not ready for load balancers.
WEB_DRAIN_SECONDS: int = number("WEB_DRAIN_SECONDS", 0)

# --- Logs ---------------------------------------------------------------------------------------


def _log_level() -> str:
    level: Any = env.str("LOG_LEVEL", default="INFO")
    if level in logging.getLevelNamesMapping():
        return str(level)
    MISREAD["LOG_LEVEL"] = "Write DEBUG, INFO, WARNING, ERROR or CRITICAL."
    return "INFO"


LOG_LEVEL = _log_level()
LOG_FORMAT: str = env.str("LOG_FORMAT", default="text")
if LOG_FORMAT not in {"text", "json"}:
    MISREAD["LOG_FORMAT"] = "Write text or json."
    LOG_FORMAT = "text"
