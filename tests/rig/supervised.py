"""What is inside a running `manage.py runall` or `serve`, and how to use it."""

import re
from contextlib import suppress
from pathlib import Path

from tests.anonmail_site.test_start import Start, ask

# Settings under which nobody is refused an alias.
ROOMY = {"ALIASES_PER_HOUR": "100000", "ALIASES_PER_DAY": "100000"}


def env_file(directory: Path, text: str = "WEB_WORKERS=2\n") -> Path:
    """The file with the settings."""
    file = directory / "env"
    file.write_text(text)
    return file


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def command(process: int) -> str:
    return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def parts(start: Start) -> dict[str, int]:
    """The process of each part."""
    found = {}
    for child in children(start.process.pid):
        with suppress(OSError):
            for name, word in (("web", "gunicorn"), ("mail", "mailserver"), ("worker", "django worker")):
                if word in command(child):
                    found[name] = child
    return found


def credentials(start: Start) -> str:
    found = re.search(r"'Authentication: (.*?)'", start.said)
    assert found
    return found[1]


def new_alias(start: Start) -> str:
    status, _headers, body = ask(
        start.port, "POST", "/api/alias/random/new", Authentication=credentials(start)
    )
    assert status == 201, body
    found = re.search(rb'"email": ?"([^"]+)"', body)
    assert found
    return found[1].decode()
