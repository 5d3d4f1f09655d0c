"""CSV files that people open in a spreadsheet."""

import pytest

from core.spreadsheets import harmless, without_guard


@pytest.mark.parametrize(
    "text", ["", "plain", "=1+1", "+49", "-", "@x", "\tx", "\rx", "'", "'=1", "''=1", "'quoted'", "a=1"]
)
def test_what_keeps_spreadsheets_quiet_comes_off_again(text: str) -> None:
    assert without_guard(harmless(text)) == text
    assert harmless(text)[:1] not in {"=", "+", "-", "@", "\t", "\r"}
