"""What tests of the running site share."""

import smtplib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.anonmail_site.test_start import Start, ask, running
from tests.rig.ports import free_port
from tests.rig.supervised import ROOMY, env_file


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with running(tmp_path, free_port(), ENV_FILE=str(env_file(tmp_path)), **ROOMY) as started:
        ask(started.port, "GET", "/accounts/login/", timeout=60)
        with smtplib.SMTP("127.0.0.1", started.mail_port, timeout=60) as client:
            client.noop()
        # The supervisor has heard of it.
        time.sleep(0.5)
        yield started
