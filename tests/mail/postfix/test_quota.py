"""What user-patches.sh does to docker-mailserver's quota service, which refuses whom it does not know."""

import subprocess
from pathlib import Path

import pytest

from mail.postfix.containers import _QUOTA


@pytest.mark.parametrize(
    ("before", "added"),
    [
        ("service quota-status {\n}\n", "quota_status_nouser = DUNNO\n"),
        ("plugin {\n  quota = x\n}\n", "plugin {\n  quota_status_nouser = DUNNO\n}\n"),
        ("quota_status_nouser = REJECT\n", ""),
    ],
)
def test_the_quota_service_leaves_aliases_to_postfix(before: str, added: str, tmp_path: Path) -> None:
    file = tmp_path / "90-quota.conf"
    file.write_text(before)
    script = "\n".join(_QUOTA).replace("/etc/dovecot/conf.d/90-quota.conf", str(file))

    for _run in range(2):
        subprocess.run(["bash", "-ec", script], check=True)

    assert file.read_text() == before + added
