"""`.env` holds for every process, gunicorn's parent too, and is never ignored in silence."""

import http.client
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from anonmail_site import checks
from tests.conftest import missing

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
GUNICORN = [
    sys.executable,
    "-m",
    "gunicorn",
    "-c",
    "python:anonmail_site.gunicorn_conf",
    "anonmail_site.wsgi",
]


def environment(env_file: Path, **more: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "ENV_FILE": str(env_file),
        "DJANGO_SETTINGS_MODULE": "anonmail_site.settings",
        "SECRET_KEY": "x" * 50,
        "DNS_RESOLVERS": "127.0.0.1:1",
        **more,
    }


def without_privileges() -> list[str]:
    """What to put before a command so that root cannot open other users' files either."""
    if os.geteuid() != 0:
        return []
    return [shutil.which("setpriv") or missing("setpriv"), "--bounding-set=-all", "--inh-caps=-all"]


def python(code: str, env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*without_privileges(), sys.executable, "-c", code],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_gunicorn_takes_its_settings_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("HOST=::1\nPORT=8123\nWEB_WORKERS=3\nWEB_THREADS=5\nLOG_LEVEL=ERROR\n")
    code = (
        "import os, anonmail_site.gunicorn_conf as c\n"
        "print(c.bind, c.workers, c.threads, c.logconfig_dict['root']['level'], 'PORT' in os.environ)"
    )

    found = python(code, environment(file))
    overridden = python(code, environment(file, PORT="9000", WEB_LISTEN="unix:/run/web.sock"))

    # What is in the file is not passed on to child processes.
    assert found.stdout.split() == ["[::1]:8123", "3", "5", "ERROR", "False"], found.stderr
    assert overridden.stdout.split()[0] == "unix:/run/web.sock"


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("PORT=http", "PORT"),
        ("PORT=99999", "PORT"),
        ("WEB_LISTEN=web.sock", "WEB_LISTEN"),
        ("WEB_WORKERS=two", "WEB_WORKERS"),
        ("LOG_LEVEL=verbose", "LOG_LEVEL"),
    ],
)
def test_gunicorn_does_not_start_with_what_it_cannot_understand(tmp_path: Path, line: str, name: str) -> None:
    file = tmp_path / "env"
    file.write_text(line + "\n")

    found = python("import anonmail_site.gunicorn_conf", environment(file))

    assert found.returncode == 1
    assert found.stderr.startswith(f"{name} is invalid. Write ")
    assert len(found.stderr.splitlines()) == 1


@pytest.fixture
def gunicorn(tmp_path: Path) -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    place = tmp_path / "web"
    file = tmp_path / "env"
    file.write_text(f"WEB_LISTEN=unix:{place}\nWEB_WORKERS=1\nVAR_DIR={tmp_path}\n")
    process = subprocess.Popen(GUNICORN, cwd=ROOT, env=environment(file))
    try:
        deadline = time.monotonic() + 60
        while not place.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        yield process, place
    finally:
        process.terminate()
        process.wait(120)


def test_gunicorn_serves_at_a_unix_socket_of_its_group(
    gunicorn: tuple["subprocess.Popen[bytes]", Path],
) -> None:
    process, place = gunicorn
    connection = http.client.HTTPConnection("localhost")
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(place))
        connection.sock = client
        connection.request("GET", "/health")
        answer = connection.getresponse()
        answer.read()

    assert answer.status in {200, 503}
    assert place.stat().st_mode & 0o777 == 0o660
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(workers) == 1


READERS = {
    "a command": "from django.core.management import execute_from_command_line as run; run(['', 'check'])",
    "gunicorn": "import anonmail_site.gunicorn_conf",
    "another web server": "import anonmail_site.wsgi",
}


@pytest.mark.parametrize("reader", READERS)
def test_a_file_that_cannot_be_read_ends_the_process_and_is_named(tmp_path: Path, reader: str) -> None:
    file = tmp_path / "env"
    file.write_text("PORT=8001\n")
    file.chmod(0)

    found = python(READERS[reader], environment(file))

    assert found.returncode == 1
    assert found.stderr.strip() == f"This file cannot be read: {file}: Permission denied."


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "There is no file {file}, which ENV_FILE names."),
        (b"PORT=8001\nDATABASE_URL = postgres://u:secret@host/db\n", "Line 2 of {file} is not NAME=value "),
        (b"PORT=8001\n\xff\xfe\n", "{file} is not text in UTF-8."),
        (b"SECRET_KEY_FILE=/nowhere/key\n", "SECRET_KEY_FILE cannot be read: /nowhere/key: No such file"),
    ],
)
def test_a_file_that_would_be_understood_in_part_is_refused(
    tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    file = tmp_path / "env"
    if content is not None:
        file.write_bytes(content)
    env = environment(file)
    del env["SECRET_KEY"]

    found = python(READERS["a command"], env)

    assert found.returncode == 1
    assert found.stderr.startswith(sentence.format(file=file))
    assert len(found.stderr.splitlines()) == 1
    assert "secret@" not in found.stderr


def test_comments_empty_lines_and_a_byte_order_mark_are_fine(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("\ufeffPORT=8001\n\n   \n  # a comment\nexport WEB_WORKERS=4\n", encoding="utf-8")

    found = python("import anonmail_site.gunicorn_conf as c; print(c.bind, c.workers)", environment(file))

    assert found.stdout.split() == ["127.0.0.1:8001", "4"]
    assert found.stderr == ""


@pytest.mark.parametrize("value", ["$abc", "$PORT", "a$b", r"\$abc", "$", "$$x", r"\\$", "a\\b"])
def test_a_dollar_sign_is_one_like_any_other(tmp_path: Path, value: str) -> None:
    """A key of Django's can begin with one; it must not become an empty key, nor another setting's value."""
    file = tmp_path / "env"
    file.write_text(f"PORT=8001\nSECRET_KEY={value}\nSECRET_KEY_FALLBACKS={value},{value}\n")
    key = tmp_path / "key"
    key.write_text(value)
    env = environment(file)
    del env["SECRET_KEY"]
    code = (
        "from anonmail_site.environment import env; print(env.str({!r}), *env.list('SECRET_KEY_FALLBACKS'))"
    )

    in_file = python(code.format("SECRET_KEY"), env)
    in_own_file = python(code.format("MAIL_NEXT_HOP"), env | {"MAIL_NEXT_HOP_FILE": str(key)})
    in_environment = python(code.format("MAIL_NEXT_HOP"), env | {"MAIL_NEXT_HOP": value})

    assert [done.stdout.split() for done in (in_file, in_own_file, in_environment)] == [[value] * 3] * 3


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_key_that_another_user_owns_is_named(tmp_path: Path) -> None:
    key = tmp_path / "secret_key"
    key.write_text("x" * 100)
    key.chmod(0o600)
    os.chown(key, NOBODY, NOBODY)
    env = environment(tmp_path / "env", ENV_FILE="", VAR_DIR=str(tmp_path))
    del env["SECRET_KEY"]

    found = python(READERS["a command"], env)

    assert found.stderr.strip() == (
        f"This file cannot be read: {key}: Permission denied. "
        f"{key} belongs to nobody, and this process runs as root."
    )


def test_a_setting_with_two_lines_is_a_warning_and_the_last_one_counts(
    settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "env"
    file.write_text("PORT=8001\n#PORT=8002\nHOST=127.0.0.1\nexport PORT=8003\n")
    file.chmod(0o640)
    settings.ENV_FILE = file

    (warning,) = checks.check_env_file()
    found = python("from anonmail_site.environment import PORT; print(PORT)", environment(file))

    assert (warning.id, warning.msg) == ("anonmail.W006", f"{file} sets PORT 2 times.")
    assert found.stdout == "8003\n"


@pytest.mark.parametrize(
    ("text", "is_secret"),
    [
        ("DATABASE_URL=postgres://anonmail:password@127.0.0.1/anonmail", True),
        ("SECRET_KEY=" + "x" * 50, True),
        ("DATABASE_URL=postgres://anonmail@127.0.0.1/anonmail", False),
        ("SECRET_KEY_FILE=/run/secrets/key\nSITE_URL=https://mail.example.com:8443/", False),
        ("#MAIL_NEXT_HOP=smtp://user:password@mx.test", False),
    ],
)
def test_a_file_with_secrets_that_everybody_can_read_is_a_warning(
    settings: Settings, tmp_path: Path, text: str, is_secret: bool
) -> None:
    file = tmp_path / "env"
    file.write_text(f"PORT=8001\n{text}\n")
    settings.ENV_FILE = file

    found = {}
    for mode in (0o644, 0o640):
        file.chmod(mode)
        found[mode] = [message.id for message in checks.check_env_file()]

    assert found == {0o644: ["anonmail.W004"] if is_secret else [], 0o640: []}
