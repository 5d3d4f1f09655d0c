"""The whole installation on a disk that is full: each answer comes at once and is the documented one, the log
stays short, and everything goes on by itself once there is room."""

import json
import os
import re
import signal
import smtplib
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.anonmail_site.test_start import BASE, Start, ask, environment, running
from tests.rig.faults import FullDisk, full, small_disk
from tests.rig.mail_process import is_soon
from tests.rig.ports import free_port
from tests.rig.supervised import ROOMY, credentials, new_alias, parts

# Seconds for an answer. SQLite's patience is 20, a mail process's 3; a busy machine takes longer than none.
AT_ONCE = 12.0
# So many processes log: two of the web server, two for mail. Each says the same once a minute.
PROCESSES = 4
LETTER = "From: bob@sender.test\r\nSubject: Hi\r\n\r\nHello\r\n"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[tuple[Start, Path]]:
    """A start whose files are all on a small disk, except for what it says."""
    try:
        with small_disk(64) as disk:
            place = {"VAR_DIR": str(disk / "var"), "METRICS_TOKEN": "m" * 40, "MAIL_PROCESSES": "2"}
            with running(tmp_path, free_port(), **place, **ROOMY) as started:
                ask(started.port, "GET", "/accounts/login/", timeout=60)
                with smtplib.SMTP("127.0.0.1", started.mail_port, timeout=60) as client:
                    client.noop()
                # The supervisor has heard of it.
                time.sleep(0.5)
                yield started, disk
    except FullDisk as reason:
        pytest.skip(str(reason))


class Browser:
    """Somebody at the pages."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cookies: dict[str, str] = {}

    def ask(self, method: str, path: str, **form: str) -> tuple[int, str]:
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if method == "POST":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            form["csrfmiddlewaretoken"] = self.cookies.get("csrftoken", "")
        connection = HTTPConnection("localhost", self.port, timeout=60)
        connection.request(method, path, urlencode(form) if form else None, headers)
        answer = connection.getresponse()
        for line in answer.headers.get_all("Set-Cookie") or []:
            name, _equals, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        said = answer.read().decode(errors="replace")
        connection.close()
        return answer.status, said

    def sign_in(self, password: str) -> int:
        self.ask("GET", "/accounts/login/")
        return self.ask("POST", "/accounts/login/", login="admin@example.com", password=password)[0]


def hand_over(start: Start, recipient: str) -> int:
    """The code of the last answer to a message for the recipient."""
    with smtplib.SMTP("127.0.0.1", start.mail_port, local_hostname="sender.test", timeout=60) as client:
        client.ehlo()
        client.mail("bob@sender.test")
        code = client.rcpt(recipient)[0]
        return client.data(LETTER)[0] if code == 250 else code


def manage(start: Start, disk: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    env = environment(disk, start.port, start.mail_port) | {"METRICS_TOKEN": "m" * 40}
    return subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=BASE,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def timed(act: Callable[[], int]) -> int:
    began = time.monotonic()
    code = act()
    assert time.monotonic() - began < AT_ONCE
    return code


@pytest.mark.sqlite
def test_everything_is_refused_at_once_and_goes_on_by_itself(start: tuple[Start, Path]) -> None:
    site, disk = start
    key, alias = credentials(site), new_alias(site)
    password = re.search(r"Password +(\w{20}) ", site.said)
    assert password
    signed_in, stranger = Browser(site.port), Browser(site.port)
    assert signed_in.sign_in(password[1]) == 302
    assert hand_over(site, alias) == 250
    new = disk / "var" / "mail" / "new"
    assert is_soon(lambda: len(list(new.iterdir())) == 1)
    # Both web processes and both mail processes have a connection by now.
    for _ in range(8):
        signed_in.ask("GET", "/aliases/")
        hand_over(site, "nobody@example.com")
    before = site.said

    def api(method: str, path: str) -> int:
        return ask(site.port, method, path, timeout=60, Authentication=key)[0]

    works: dict[str, Callable[[], int]] = {
        "create": lambda: api("POST", "/api/alias/random/new?hostname=shop.test"),
        "create on a page": lambda: signed_in.ask("POST", "/aliases/quick/", hostname="shop.test")[0],
        "sign-in": lambda: stranger.sign_in(password[1]),
        "ready": lambda: api("GET", "/health/ready"),
        "mail to an alias": lambda: hand_over(site, alias),
        "list": lambda: api("GET", "/api/v2/aliases?page_id=0"),
        "page": lambda: signed_in.ask("GET", "/aliases/")[0],
        "live": lambda: api("GET", "/health/live"),
        "mail to nobody": lambda: hand_over(site, "nobody@example.com"),
    }
    expected = {
        **dict.fromkeys(("create", "create on a page", "sign-in", "ready"), {503}),
        "mail to an alias": {451},
        **dict.fromkeys(("list", "page", "live"), {200}),
        "mail to nobody": {550},
    }
    found: dict[str, set[int]] = {name: set() for name in works}
    with full(disk):
        began = time.monotonic()
        for _ in range(3):
            for name, work in works.items():
                found[name].add(timed(work))
        chores = manage(site, disk, "housekeeping")
        kept = manage(site, disk, "backup", str(disk))
        # What is gathered, such as figures, is tried again and again.
        time.sleep(max(0.0, 25 - (time.monotonic() - began)))
        said = site.said.removeprefix(before)
        letters = len(list(new.iterdir()))

    assert found == expected
    assert letters == 1
    assert chores.returncode == 1
    assert "Not done: " in chores.stderr
    assert kept.returncode == 1
    assert kept.stderr.startswith("CommandError: ")
    assert "Traceback" not in said + chores.stderr + kept.stderr
    assert max(times_said(said).values()) <= PROCESSES, said

    assert is_soon(lambda: works["ready"]() == 200, 30)
    assert {name: work() for name, work in works.items()} == {
        **dict.fromkeys(works, 200),
        "create": 201,
        "create on a page": 302,
        "sign-in": 302,
        "mail to an alias": 250,
        "mail to nobody": 550,
    }
    assert manage(site, disk, "housekeeping").returncode == 0
    assert manage(site, disk, "backup", str(disk)).returncode == 0
    assert is_soon(lambda: len(list(new.iterdir())) == 2)
    assert len(json.loads(ask(site.port, "GET", "/api/v2/aliases?page_id=0", Authentication=key)[2])) == 1


def times_said(log: str) -> Counter[str]:
    """How often each line is in the log, without its time."""
    return Counter(re.sub(r"^\S+ \S+ ", "", line) for line in log.splitlines())


@pytest.mark.sqlite
@pytest.mark.parametrize("part", ["web", "mail"])
def test_a_process_that_dies_on_a_full_disk_comes_back(start: tuple[Start, Path], part: str) -> None:
    site, disk = start
    alias = new_alias(site)
    with full(disk):
        os.kill(parts(site)[part], signal.SIGKILL)
        alive = ask(site.port, "GET", "/health/live", timeout=60)[0]
        put_off = hand_over(site, alias)
        os.kill(site.process.pid, signal.SIGHUP)
        time.sleep(10)
        still = ask(site.port, "GET", "/health/live", timeout=60)[0]

    assert (alive, still, put_off) == (200, 200, 451), site.said
    assert is_soon(lambda: hand_over(site, alias) == 250, 60), site.said
    assert is_soon(lambda: ask(site.port, "GET", "/health/ready")[0] == 200, 30)
    assert "Traceback" not in site.said
