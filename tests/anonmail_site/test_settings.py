"""Each setting is in `.env.example` and in the docs, with the default that it has."""

import re
from pathlib import Path

import pytest
from django.conf import settings

BASE = Path(settings.BASE_DIR)
READERS = (
    "anonmail_site/settings.py",
    "anonmail_site/environment.py",
    "anonmail_site/sign_in_settings.py",
    "anonmail_site/url_settings.py",
)
_READ = re.compile(
    r"""(?:env(?:\.\w+)?|environ\.get|number|url)\(\s*(?:env\.\w+,\s*)?[\"']([A-Z][A-Z0-9_]+)[\"'](?:,\s*([^)\n]+))?"""
)
_EXAMPLE = re.compile(r"^#([A-Z][A-Z0-9_]+)=(.*)$", re.MULTILINE)
# Say where the other settings are.
NOT_IN_A_FILE = {"ANONMAIL_DIR", "ENV_FILE"}


def read() -> dict[str, str]:
    """The settings that the code reads, with the default as it is written there."""
    found = {}
    for path in READERS:
        for name, default in _READ.findall((BASE / path).read_text()):
            found[name] = default.removeprefix("default=").strip()
    return found


def examples() -> dict[str, str]:
    """The settings of `.env.example`, with the values shown."""
    found = dict(_EXAMPLE.findall((BASE / ".env.example").read_text()))
    return {name.removesuffix("_FILE") if name.endswith("_KEY_FILE") else name: found[name] for name in found}


READ = read()


def test_the_example_names_every_setting_and_no_other() -> None:
    assert set(examples()) == set(READ) - NOT_IN_A_FILE


def test_the_tables_of_the_docs_name_settings_that_there_are() -> None:
    rows = [line for path in (BASE / "docs").glob("*.md") for line in path.read_text().splitlines()]
    first_cells = [line.split("|")[1] for line in rows if line.startswith("|")]
    named = {name for cell in first_cells for name in re.findall(r"`([A-Z]+_[A-Z_]+)`", cell)}

    assert len(named) >= 15
    assert named - set(READ) == set()


@pytest.mark.parametrize(
    "name", [name for name, default in READ.items() if re.fullmatch(r"[\d_]+|True|False", default)]
)
def test_the_example_shows_the_default(name: str) -> None:
    assert examples()[name].lower() == READ[name].replace("_", "").lower()
