"""The wheel: what is in it, and that it works where nothing of the checkout is."""

import email
import email.message
import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import time
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from anonmail_site import __version__
from tests.anonmail_site.test_last_release import release  # noqa: F401 - a fixture
from tests.rig.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = PROJECT["tool"]["importlinter"]["root_packages"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    [path] = directory.iterdir()
    return path


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of a virtual environment in which the wheel is installed.

    Its dependencies are this interpreter's own: nothing is fetched.
    """
    place = tmp_path_factory.mktemp("environment")
    python = place / "bin" / "python"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
    ]
    for command in ([sys.executable, "-m", "venv", "--without-pip", str(place)], [*pip, str(wheel)]):
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    [packages] = place.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place / "bin"


class Installed:
    """An installation in a directory of its own."""

    def __init__(self, commands: Path, directory: Path) -> None:
        self.command, self.directory = str(commands / "anonmail"), directory
        self.port, mail_port = free_port(), free_port()
        self.environment = {
            "PATH": f"{commands}:{os.environ['PATH']}",
            "PORT": str(self.port),
            "MAIL_LISTEN": f"127.0.0.1:{mail_port}",
            "MAIL_SUBMISSION_LISTEN": "",
            "PYTHONUNBUFFERED": "1",
            # Nobody answers there.
            "DNS_RESOLVERS": "127.0.0.1:1",
        }

    def run(self, *words: str, **more: str) -> str:
        """What a command prints that runs in the installation's directory."""
        done = subprocess.run(
            [self.command, *words],
            cwd=self.directory,
            env=self.environment | more,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @contextmanager
    def serving(self, cwd: Path) -> Iterator[str]:
        """What `anonmail run` has printed once it serves, for the directory that ANONMAIL_DIR names."""
        log = cwd / "log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [self.command, "run"],
                cwd=cwd,
                env=self.environment | {"ANONMAIL_DIR": str(self.directory)},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            deadline = time.monotonic() + 120
            while not self.serves():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            yield log.read_text()
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(60)

    def serves(self) -> bool:
        try:
            return self.get("/accounts/login/") != ""
        except OSError:
            return False

    def get(self, path: str, method: str = "GET", **headers: str) -> str:
        request = Request(f"http://localhost:{self.port}{path}", headers=headers, method=method)
        with urlopen(request, timeout=20) as answer:
            return str(answer.read().decode())


def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(name))


def test_the_wheel_has_every_file_that_is_used_and_nothing_else(wheel: Path) -> None:
    expected = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        # A process that is killed while it writes compiled code leaves a file that does not end in .pyc
        if path.is_file() and "__pycache__" not in path.parts
    } | {
        f"anonmail_site/resources/{path.relative_to(ROOT)}"
        for directory in ("templates", "static", "locale")
        for path in (ROOT / directory).rglob("*")
        if path.is_file()
    }

    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}

    assert "core/migrations/0001_initial.py" in found
    assert "anonmail_site/resources/locale/de/LC_MESSAGES/django.mo" in found
    assert found == expected


def test_version_and_dependencies_come_from_the_one_place_that_has_them(wheel: Path) -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pinned = {line for line in lines if "==" in line}

    said = metadata(wheel)

    assert said["Version"] == __version__
    assert said["Requires-Python"] == PROJECT["project"]["requires-python"]
    # Extras in the order of the alphabet, names in lower case or not
    assert {line.lower() for line in said.get_all("Requires-Dist", [])} == {line.lower() for line in pinned}


def test_the_installed_command_says_its_version(environment: Path, tmp_path: Path) -> None:
    installed = Installed(environment, tmp_path)

    assert installed.run("--version") == installed.run("version") == f"Anonmail {__version__}\n"


def test_an_installed_wheel_makes_an_alias_and_forwards_its_mail(environment: Path, tmp_path: Path) -> None:
    """All from the wheel: pages with their style, in German too, the tables, the API and the mail server.

    `anonmail run` is told where the installation is, the other command finds it where it is run.
    """
    directory, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    directory.mkdir()
    elsewhere.mkdir()
    installed = Installed(environment, directory)

    with installed.serving(elsewhere) as said:
        line = re.search(r"curl -X POST '(.*?)'.*?'Authentication: (.*?)'", said, re.DOTALL)
        assert line, said
        path, key = line[1].removeprefix(f"http://localhost:{installed.port}"), line[2]
        alias = json.loads(installed.get(path, "POST", Authentication=key))["alias"]
        page = installed.get("/accounts/login/", **{"Accept-Language": "de"})
        style = re.search(r'href="(/static/site[^"]*\.css)"', page)
        assert style
        sheet = installed.get(style[1])
        sent = installed.run("send_test_mail")
        place = installed.run("shell", "-v0", "-c", "import anonmail_site; print(anonmail_site.__file__)")

    [message] = (directory / "var" / "mail" / "new").iterdir()
    assert re.fullmatch(r"github\.[a-z]+@example\.com", alias)
    # A sentence of ours, not of a package that has German too
    assert "Kein Konto?" in page
    assert "{" in sheet
    assert sent == f"Accepted for {alias}.\n"
    assert f"X-Anonmail-Alias: {alias}\n" in message.read_text()
    assert Path(place.strip()).is_relative_to(environment.parent)
    assert [path.name for path in elsewhere.iterdir()] == ["log"]


@pytest.mark.sqlite
def test_the_wheel_takes_over_an_installation_of_the_last_release(
    environment: Path,
    release: Path,  # noqa: F811 - the fixture
    tmp_path: Path,
) -> None:
    """A checkout with its `var/` and `.env`: its account, token and alias work, and mail is forwarded."""
    old = {
        "PATH": os.environ["PATH"],
        "DJANGO_SETTINGS_MODULE": "anonmail_site.settings",
        "ENV_FILE": str(release / ".env"),
        "VAR_DIR": str(release / "var"),
    }
    (release / ".env").write_text("ALIASES_PER_DAY=77\n")
    made = (
        "from aliases.issuing import issue; from accounts.models import User; "
        "print(issue(owner=User.objects.get(), hostname='shop.example').address)"
    )
    said, alias = (
        subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=release,
            env=old,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for words in (["prepare"], ["shell", "-v0", "-c", made])
    )
    key = re.search(r"'Authentication: (.*?)'", said)
    assert key
    installed = Installed(environment, release)

    with installed.serving(tmp_path) as said_later:
        listed = json.loads(installed.get("/api/v2/aliases?page_id=0", Authentication=key[1]))["aliases"]
        new = json.loads(installed.get("/api/alias/random/new", "POST", Authentication=key[1]))["alias"]
        sent = installed.run("send_test_mail", alias)
        limit = installed.run(
            "shell", "-v0", "-c", "from django.conf import settings as s; print(s.ALIASES_PER_DAY)"
        )

    [message] = (release / "var" / "mail" / "new").iterdir()
    assert "Password" not in said_later
    assert [each["email"] for each in listed] == [alias]
    assert new != alias
    assert sent == f"Accepted for {alias}.\n"
    assert f"X-Anonmail-Alias: {alias}\n" in message.read_text()
    assert limit == "77\n"
