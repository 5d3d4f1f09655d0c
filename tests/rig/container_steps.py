"""What the start scripts of three mail servers do with the files that `postfix_config --for` writes."""

import os
import subprocess
import tempfile
from pathlib import Path

# Where mailcow's Postfix has its configuration, in the directory of the compose file.
CONFIGURATIONS = {"mailcow": "data/conf/postfix"}


def start(server: str, root: Path, etc: Path) -> None:
    """Apply the files below `root`, where the compose file is, to the configuration in `etc`."""
    {"mailcow": _mailcow, "docker-mailserver": _docker_mailserver, "mailu": _mailu}[server](root, etc)


def _mailcow(root: Path, etc: Path) -> None:
    # Hooks first; then main.cf is cut after its last own line, extra.cf gets the host's name, and follows.
    for hook in sorted((root / "data/hooks/postfix").glob("*")):
        if os.access(hook, os.X_OK):
            _run([str(hook)], etc)
    _run(
        [
            "bash",
            "-ec",
            r"""
            sed -i '/Overrides/q' main.cf
            echo >> main.cf
            touch extra.cf
            sed -i '/\$myhostname/! { /myhostname/d }' extra.cf
            echo -e "myhostname = mail.site.test\n$(cat extra.cf)" > extra.cf
            cat extra.cf >> main.cf
            """,
        ],
        etc,
    )


def _docker_mailserver(root: Path, etc: Path) -> None:
    script = root / "docker-data/dms/config/user-patches.sh"
    if script.is_file():
        # Its directory in the container, which the script names, is not here.
        text = script.read_text().replace(
            "chgrp -R postfix /tmp/docker-mailserver/anonmail && chmod", ": chmod"
        )
        _run(["/bin/bash", "-c", text], etc)


def _mailu(root: Path, etc: Path) -> None:
    for name, option in (("postfix.cf", "-e"), ("postfix.master", "-Me")):
        file = root / "overrides/postfix" / name
        if not file.is_file():
            continue
        for line in file.read_text().strip().split("\n"):
            if not line.startswith("#") and line != "":
                _run(["sh", "-c", f'postconf {option} "{line}"'], etc)


def undo(commands: list[str], etc: Path) -> None:
    """Run the commands of the README, `docker compose exec` here and the rest of docker not at all."""
    for command in commands:
        command = command.replace("docker compose exec postfix-mailcow ", "")
        if not command.startswith("docker"):
            _run(["sh", "-ec", f"{commands[0]} && {command}"], etc)


def _run(command: list[str], etc: Path) -> None:
    """With the container's `postconf`, and a network like Docker's."""
    with tempfile.TemporaryDirectory() as programs:
        for name, script in {
            "postconf": f'exec /usr/sbin/postconf -c {etc} "$@"',
            "ip": "echo default via 172.18.0.1 dev eth0",
        }.items():
            (Path(programs) / name).write_text(f"#!/bin/sh\n{script}\n")
            (Path(programs) / name).chmod(0o755)
        for path in etc.glob("main.cf"):
            # Postfix's programs wait while a main.cf is younger than two seconds.
            os.utime(path, (0, 0))
        path = f"{programs}:{os.environ['PATH']}"
        done = subprocess.run(
            command, cwd=etc, env={"PATH": path}, capture_output=True, text=True, check=False, timeout=300
        )
    if done.returncode or done.stderr:
        raise AssertionError(f"{command}: {done.returncode} {done.stderr}")
