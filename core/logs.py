"""A net under the rule that logs carry ids, never addresses, tokens or query strings."""

import logging
import re

_ADDRESS = re.compile(r"[^\s<>()\[\]\"',;:=@]+@[^\s<>()\[\]\"',;:=@]+", re.UNICODE)
# Tokens are 40 to 60 letters and digits (tokens.models).
_TOKEN = re.compile(r"\b[A-Za-z0-9]{40,}\b")
_QUERY = re.compile(r"(?<=/)([^\s?]*)\?[^\s\"']+")


def redact(text: str) -> str:
    """`text` with every e-mail address, long secret and URL query replaced."""
    text = _QUERY.sub(r"\1?[query]", text)
    text = _ADDRESS.sub("[address]", text)
    return _TOKEN.sub("[secret]", text)


class RedactingFormatter(logging.Formatter):
    """Formats a record, its traceback included, and redacts the result."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))
