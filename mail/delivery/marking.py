"""The subject that an owner's rules give a message."""

import re
from collections.abc import Sequence
from email.header import Header

from core.mailboxes import decoded
from mail.delivery.hiding import Field
from rules.facts import WRITTEN_MAX
from rules.judging import new_subject

_CONTROLS = re.compile(r"[\x00-\x1f\x7f\x80-\x9f\u2028\u2029]+")
# RFC 5322 §2.1.1; and a word that is longer cannot be folded.
_LINE_MAX = 76
_WORD_MAX = 60


def marked(fields: Sequence[Field], subjects: Sequence[str]) -> list[Field]:
    """The header's fields with one Subject, which these have made of the message's first one."""
    own = next((field.text for field in fields if field.name == "subject"), "")
    made = Field("subject", subject_field(new_subject(decoded(own[:WRITTEN_MAX]), subjects)))
    kept: list[Field] = []
    for field in fields:
        if field.name != "subject":
            kept.append(field)
        elif made not in kept:
            kept.append(made)
    return kept if made in kept else [*kept, made]


def subject_field(text: str) -> bytes:
    """A Subject field with this text, in which nothing can end the field."""
    text = " ".join(_CONTROLS.sub(" ", text).split())
    is_plain = text.isascii() and "=?" not in text and all(len(word) <= _WORD_MAX for word in text.split())
    charset = "us-ascii" if is_plain else "utf-8"
    folded = Header(text, charset, maxlinelen=_LINE_MAX, header_name="Subject", errors="replace")
    return b"Subject: " + folded.encode(linesep="\r\n").encode("ascii") + b"\r\n"
