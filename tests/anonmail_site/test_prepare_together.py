"""`manage.py prepare` in several processes at once, as containers and hosts that start together run it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

from tests.anonmail_site.test_start import BASE, environment
from tests.rig.postgresql import another_database


@pytest.fixture
def empty_database(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The setting that names it."""
    if connection.vendor == "sqlite":
        yield {}
        return
    request.getfixturevalue("db")
    with another_database() as url:
        yield {"DATABASE_URL": url}


def test_several_at_the_same_moment_make_one_installation(
    tmp_path: Path, empty_database: dict[str, str]
) -> None:
    """One key, one first admin, and nobody fails."""
    line = [sys.executable, "manage.py", "prepare"]
    env = environment(tmp_path, 8000) | empty_database
    started = [
        subprocess.Popen(line, cwd=BASE, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = [process.communicate(timeout=240) for process in started]

    assert [process.returncode for process in started] == [0] * 4, said
    assert "".join(err for _out, err in said) == ""
    assert len([out for out, _err in said if "Password" in out]) == 1
    assert len((tmp_path / "var" / "secret_key").read_text().split()) == 1
