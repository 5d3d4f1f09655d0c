"""What a supervised process owes its supervisor."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What is cleaned up once signals have their defaults again takes longer than the time between two checks.
_SLOW_END = """
import time
from core.supervised import end_with_supervisor

class Slow:
    def __del__(self, sleep=time.sleep):
        sleep(1.2)

end_with_supervisor()
kept = Slow()
kept.itself = kept
"""


def test_a_process_that_takes_its_time_to_end_is_not_killed_by_its_own_check() -> None:
    environment = {**os.environ, "ANONMAIL_SUPERVISOR": str(os.getpid())}

    ended = subprocess.run(
        [sys.executable, "-c", _SLOW_END], cwd=ROOT, env=environment, check=False, timeout=300
    )

    assert ended.returncode == 0
