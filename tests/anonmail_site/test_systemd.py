"""The units in deploy/systemd: systemd understands them, and they may do little besides their work."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from anonmail_site.checks import DRAIN_SECONDS_MAX
from anonmail_site.supervisor import STOP_TIMEOUT
from tests.conftest import missing

UNITS = Path(__file__).resolve().parents[2] / "deploy" / "systemd"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
# 0 is closed, 10 is open.
EXPOSURE_MAX = 3.0


def analyze(*arguments: str) -> "subprocess.CompletedProcess[str]":
    program = shutil.which("systemd-analyze") or missing("systemd-analyze")
    return subprocess.run(
        [str(program), *arguments],
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    """With a program in the place of ours, which is not installed here."""
    for unit in UNITS.glob("*.s*"):
        if unit.is_file():
            text = unit.read_text().replace("/srv/anonmail/.venv/bin/python", "/bin/true")
            (tmp_path / unit.name).write_text(text)

    found = analyze("verify", *map(str, sorted(tmp_path.iterdir())))

    assert len(list(tmp_path.iterdir())) == 4
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_can_do_little_besides_its_work(service: str) -> None:
    found = analyze("security", "--offline=true", "--no-pager", str(UNITS / service))

    level = re.search(r"Overall exposure level for \S+: ([\d.]+) ", found.stdout)
    assert level, found.stderr
    assert float(level[1]) < EXPOSURE_MAX


@pytest.mark.parametrize(("service", "drain"), [("web", DRAIN_SECONDS_MAX), ("mail", 0)])
def test_what_is_underway_is_finished_before_systemd_kills(service: str, drain: int) -> None:
    text = (UNITS / f"anonmail-{service}.service").read_text()

    found = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)

    assert found
    assert int(found[1]) > drain + STOP_TIMEOUT


def test_the_mail_server_may_run_postmap() -> None:
    """It asks for this host's addresses (getifaddrs(3)): without AF_NETLINK, Postfix has no table of domains
    and refuses all mail for them."""
    text = (UNITS / "anonmail-mail.service").read_text()

    found = re.search(r"^RestrictAddressFamilies=(.*)$", text, re.MULTILINE)

    assert found
    assert set(found[1].split()) == {"AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"}


def test_postgresql_answers_before_postfixs_own_work(tmp_path: Path) -> None:
    """Debian's clusters are instances of a template, which systemd puts into a slice of their own: the weight
    of one of them would count there alone."""
    dropped = UNITS / "system-postgresql.slice.d"
    shutil.copytree(dropped, tmp_path / dropped.name)
    slice_of_theirs = tmp_path / "system-postgresql.slice"
    slice_of_theirs.write_text("[Slice]\n")

    found = analyze("verify", str(slice_of_theirs))

    assert (found.returncode, found.stderr) == (0, "")
    mail = (UNITS / "anonmail-mail.service").read_text()
    weight = "CPUWeight=1000\n"
    assert weight in mail
    assert weight in (dropped / "anonmail.conf").read_text()
