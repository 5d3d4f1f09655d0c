"""What people read about a message that did not go out."""

import pytest
from django.core import mail

from mail.delivery.reply_notices import tell_of_refusal
from mail.delivery.revealing import CALENDAR


@pytest.mark.parametrize(
    ("language", "is_proven", "said", "not_said"),
    [
        ("en", True, [f"{CALENDAR}.", "Change the message", "/account/"], "verified addresses"),
        ("en", False, [f"{CALENDAR}.", "verified addresses"], "Change the message"),
        ("de", True, ["Die Antwort auf eine Einladung nennt deine eigene Adresse.", "Ändere"], CALENDAR),
        ("de", False, ["Die Antwort auf eine Einladung nennt deine eigene Adresse."], "Ändere"),
    ],
)
def test_the_reason_and_the_advice_are_those_of_the_case(
    language: str, is_proven: bool, said: list[str], not_said: str
) -> None:
    tell_of_refusal("a@b.test", language, "x@example.com", "jane@shop.test", CALENDAR, is_proven=is_proven)

    (notice,) = mail.outbox
    for words in said:
        assert words in notice.body
    assert not_said not in notice.body


def test_a_reason_of_nobodys_is_shown_as_it_is() -> None:
    reason = "The header has more than one To field"

    tell_of_refusal("a@b.test", "de", "x@example.com", "jane@shop.test", reason, is_proven=True)

    assert f"{reason}." in mail.outbox[0].body
