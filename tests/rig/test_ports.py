"""Ports that tests give to their servers."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TAKE = "from tests.rig.ports import free_ports; print(*free_ports(50))"


def test_two_processes_that_ask_at_once_are_never_given_the_same_port() -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", TAKE], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    given = [process.communicate(timeout=300)[0].split() for process in processes]

    assert len({port for ports in given for port in ports}) == 100
