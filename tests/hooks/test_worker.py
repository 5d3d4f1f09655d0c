"""The worker as a process: it sends, survives being killed, runs commands, and ends when it is told to."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from django.db import connection

from anonmail_site import chores
from anonmail_site.chores import Chores
from tests.conftest import missing
from tests.rig.faults import ROOT, environment, filled_cluster, filled_file
from tests.rig.mail_process import is_soon
from tests.rig.nameserver import nameserver
from tests.rig.postgresql import Missing
from tests.rig.receiver import HOST, Receiver, receiving

# Prints the secret.
_MAKE = """
from accounts.models import User
from hooks.messages import write_test
from hooks.models import Hook
hook, secret = Hook.objects.make(owner=User.objects.first(), url={url!r}, events=["alias.created"])
write_test(hook)
print(secret)
"""
_DUE_NOW = """
from django.utils import timezone
from hooks.models import HookMessage
HookMessage.objects.filter(state="waiting").update(due_at=timezone.now())
"""
_STATES = "from hooks.models import HookMessage; print(*HookMessage.objects.values_list('state', flat=True))"


class Site:
    """A database of its own, and what runs on it."""

    def __init__(self, url: str, directory: Path, receiver: Receiver, names: int) -> None:
        self.directory = directory
        self.env = environment(
            url,
            directory,
            WEBHOOK_PRIVATE_NETWORKS="true",
            WEBHOOK_CA=receiver.authorities,
            DNS_RESOLVERS=f"127.0.0.1:{names}",
            DJANGO_SETTINGS_MODULE="anonmail_site.settings",
        )

    def shell(self, code: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", "shell", "--no-imports", "--command", code],
            cwd=ROOT, env=self.env, check=True, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        return done.stdout.strip()

    @contextmanager
    def worker(self) -> Iterator["subprocess.Popen[bytes]"]:
        log = self.directory / f"worker-{time.monotonic_ns()}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "django", "worker", "--settings=anonmail_site.worker_settings"],
                cwd=ROOT, env=self.env, stdout=output, stderr=output,
            )  # fmt: skip
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(40)
            assert "Traceback" not in log.read_text()


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with receiving(tmp_path) as running:
        yield running


@pytest.fixture
def site(tmp_path: Path, receiver: Receiver) -> Iterator[Site]:
    with ExitStack() as stack:
        names = stack.enter_context(nameserver({HOST: ["A 127.0.0.1"]}))
        if connection.vendor == "sqlite":
            url = stack.enter_context(filled_file())(tmp_path).url
        else:
            try:
                url = stack.enter_context(filled_cluster())().url
            except Missing as reason:
                missing(str(reason))
        yield Site(url, tmp_path, receiver, names.port)


def test_a_killed_worker_sends_again_with_the_same_id(site: Site, receiver: Receiver) -> None:
    secret = site.shell(_MAKE.format(url=receiver.url))
    held = threading.Event()
    receiver.before = lambda handler: held.wait(30)
    with site.worker() as first:
        assert is_soon(lambda: len(receiver.got) == 1, 60)
        first.kill()
        first.wait(10)
    held.set()
    # As after the lease.
    site.shell(_DUE_NOW)

    with site.worker() as second:
        assert is_soon(lambda: len(receiver.got) == 2, 60)
        assert is_soon(lambda: site.shell(_STATES) == "delivered", 60)
        second.send_signal(signal.SIGTERM)
        assert second.wait(40) == 0

    lost, again = receiver.got
    assert (lost.id, lost.body) == (again.id, again.body)
    assert again.verified(secret)["type"] == "hook.test"


@pytest.mark.sqlite
def test_a_command_runs_once_at_a_time_and_ends_with_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    class Process:
        status: int | None = None
        told = False

        def __init__(self, command: list[str], env: dict[str, str], stdout: int) -> None:
            assert env["ANONMAIL_SUPERVISOR"] == str(os.getpid())
            assert "ANONMAIL_REPORT" not in env
            started.append(command[-1])
            processes.append(self)

        def poll(self) -> int | None:
            return self.status

        def terminate(self) -> None:
            self.told = True

        def wait(self, seconds: float | None = None) -> int:
            return 0

    processes: list[Process] = []
    now = 1000.0
    monkeypatch.setattr(chores.subprocess, "Popen", Process)
    monkeypatch.setattr(chores.time, "monotonic", lambda: now)
    monkeypatch.setenv("ANONMAIL_REPORT", "7")
    runner = Chores("anonmail_site.settings")

    runner.look()
    assert started == []
    now += chores.FIRST
    runner.look()
    assert started == ["housekeeping"]
    runner.ask("report_stopped_hooks")
    runner.ask("report_stopped_hooks")
    runner.look()
    assert started == ["housekeeping"]
    processes[0].status = 1
    runner.look()
    processes[1].status = 0
    runner.look()
    assert started == ["housekeeping", "report_stopped_hooks"]
    # The daily tasks had failed.
    now += chores.RETRY
    runner.look()
    assert started[2:] == ["housekeeping"]
    processes[2].status = 0
    now += chores.RETRY
    runner.look()
    assert len(started) == 3
    now += chores.DAY
    runner.look()
    assert started[3:] == ["housekeeping"]
    runner.close()
    assert processes[-1].told
