"""What processes leave on the disk is this user's alone, however they were started."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from anonmail_site.first_steps import make_private

SEND = "from django.core.mail import send_mail; send_mail('s', 'a link', None, ['alice@example.com'])"
# As each kind of process begins.
BEGINNINGS = {
    "gunicorn": "import anonmail_site.gunicorn_conf, anonmail_site.wsgi",
    "another web server": "import anonmail_site.wsgi",
    # mailserver, housekeeping and every other command
    "manage.py": "import runpy; runpy.run_path('manage.py', run_name='__main__')",
}


@pytest.mark.sqlite
@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_mailed_links_are_private_though_the_directory_was_open(tmp_path: Path, beginning: str) -> None:
    tmp_path.chmod(0o755)
    code = f"import os, sys; os.umask(0o022)\n{BEGINNINGS[beginning]}\n{SEND}\n"
    if beginning == "manage.py":
        code = f"import os, sys; os.umask(0o022); sys.argv = ['manage.py', 'shell', '-c', {SEND!r}]\n"
        code += BEGINNINGS[beginning]
    environ = {**os.environ, "VAR_DIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "anonmail_site.settings"}
    environ |= {"ENV_FILE": "", "SECRET_KEY": "x" * 60}
    environ.pop("EMAIL_URL", None)

    subprocess.run([sys.executable, "-c", code], cwd=settings.BASE_DIR, env=environ, check=True, timeout=120)

    (mailed,) = (tmp_path / "outbox").iterdir()
    assert stat.S_IMODE(mailed.stat().st_mode) == 0o600
    assert stat.S_IMODE(mailed.parent.stat().st_mode) == 0o700


def test_what_an_older_version_left_open_is_shut(tmp_path: Path) -> None:
    inner = tmp_path / "outbox" / "deeper"
    inner.mkdir(parents=True, mode=0o755)
    (inner / "mail.log").write_text("a link")
    (inner / "mail.log").chmod(0o644)

    make_private(tmp_path / "outbox")
    make_private(tmp_path / "not there")

    assert stat.S_IMODE(inner.stat().st_mode) == 0o700
    assert stat.S_IMODE((inner / "mail.log").stat().st_mode) == 0o600
