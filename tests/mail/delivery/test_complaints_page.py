"""The page of complaints names the issues that the tests try, and no others."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "complaints.md"
TESTS = sorted(Path(__file__).parent.glob("test_*_complaints.py"))
_NAMED = re.compile(r"\b(SimpleLogin|addy|Relay) ([0-9]+(?:,\s+[0-9]+)*)")


def issues(text: str) -> set[tuple[str, str]]:
    """Whose issue, and its number."""
    return {
        (project, number)
        for project, numbers in _NAMED.findall(text)
        for number in re.findall("[0-9]+", numbers)
    }


def test_each_issue_on_the_page_is_tried() -> None:
    tried = issues("\n".join(path.read_text() for path in TESTS))

    assert issues(PAGE.read_text()) == tried
    assert len(tried) >= 60


def test_the_page_has_a_row_for_each_complaint() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]

    assert len(rows) - rows.count("| complaint | issue | here |") >= 45
