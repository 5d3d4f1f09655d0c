"""Plain words for the codes of RFC 3463."""

import pytest

from mail.reasons import explain

UNKNOWN = "The message was refused; the reason is unknown."


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("5.1.1", "There is no such mailbox."),
        ("4.2.2", "The mailbox is full."),
        ("5.1.10", "The mailbox's domain accepts no mail."),
        ("5.1.99", "The server does not accept the mailbox's address."),
        ("5.7.26", "The server doubts that the message is from its sender (SPF, DKIM or DMARC)."),
        ("5.7.515", "The server doubts that the message is from its sender (SPF, DKIM or DMARC)."),
        ("5.7.606", "The server refuses the message for reasons of security or policy."),
        ("5.0.0", UNKNOWN),
        ("", UNKNOWN),
        ("5", UNKNOWN),
    ],
)
def test_a_status_is_explained(status: str, words: str) -> None:
    assert explain(status) == words
