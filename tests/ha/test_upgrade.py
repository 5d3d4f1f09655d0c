"""The upgrade of two web hosts and two mail hosts while they work: `make upgrade FROM=REVISION`."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.postfix.conftest import Running
from tests.rig import postgresql
from tests.rig.availability.databases import original, pair
from tests.rig.availability.requests import Load
from tests.rig.availability.site import running, under_load
from tests.rig.faults import ROOT, manage
from tests.rig.letters import Senders

REVISION = os.environ.get("UPGRADE_FROM", "")
# Seconds for which the release before goes on over the new schema.
BESIDE = 5.0

pytestmark = pytest.mark.skipif(not REVISION, reason="`make upgrade FROM=REVISION`")


@pytest.fixture
def before() -> Iterator[Path]:
    """The files of the revision before."""
    with tempfile.TemporaryDirectory(prefix="anonmail-before-") as place:
        path = Path(place) / "anonmail"
        subprocess.run(["git", "worktree", "add", "--detach", path, REVISION], cwd=ROOT, check=True)
        try:
            yield path
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", path], cwd=ROOT, check=True)


def test_an_upgrade_in_the_documented_order_is_not_noticed(before: Path, postfixes: list[Running]) -> None:
    def upgrade(load: Load, senders: Senders) -> None:
        # On any host: the release before goes on over the new schema.
        manage(site.web[0].env, "migrate", "--verbosity=0")
        time.sleep(BESIDE)
        site.restart_in_turn()

    try:
        with original(before) as filled, pair(filled) as databases:
            databases.start(with_standby=False)
            url = databases.url()
            # /health/ready came later.
            with running(databases, url, postfixes, before, probe="/health") as site:
                outcome = under_load(site, upgrade, f"upgrade from {REVISION}", lambda: databases.primary)
    except postgresql.Missing as reason:
        missing(str(reason))

    assert outcome.failures == {}
    assert not outcome.forgotten
    assert (outcome.lost, outcome.doubles) == (0, 0)
