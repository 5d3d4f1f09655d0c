"""`manage.py check --deploy` with the settings that docs/install.md gives for an installation in earnest."""

import os
import secrets
import subprocess
import sys
import tempfile

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        environment = {
            **os.environ,
            "ENV_FILE": "",
            "DJANGO_SETTINGS_MODULE": "anonmail_site.settings",
            "SECRET_KEY": secrets.token_urlsafe(60),
            "SITE_URL": "https://mail.example.com",
            "VAR_DIR": directory,
        }
        command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
        sys.exit(subprocess.run(command, env=environment, check=False).returncode)
