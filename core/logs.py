"""A net under the rule that logs carry ids, never addresses, tokens or query strings."""

import logging
import re

# Each pattern tries a run of characters once, from its beginning: a log line may be long, and whoever
# sends the request chooses what is in it.
_ADDRESS = re.compile(r"(?<![^\s<>()\[\]\"',;:=@])[^\s<>()\[\]\"',;:=@]++@[^\s<>()\[\]\"',;:=@]+")
# The links that are mailed hold a right of their own.
_LINK = re.compile(r"(/reset/key/|/confirm-email/|/unsubscribe/)[^\s\"'?/]++")
_QUOTED_ADDRESS = re.compile(
    r"(?<![^\s<>()\[\]\"',;:=@/?&])[^\s<>()\[\]\"',;:=@/?&]*?%40[^\s<>()\[\]\"',;:=@/?&]+"
)
# Tokens are 40 to 60 letters and digits (tokens.models).
_TOKEN = re.compile(r"[A-Za-z0-9]{40,}")
_QUERY = re.compile(r"(?<![^\s?])(?=[^\s?]*/)([^\s?]*+)\?[^\s\"']+")


def redact(text: str) -> str:
    """`text` with every e-mail address, long secret and URL query replaced."""
    text = _LINK.sub(r"\1[key]", text)
    text = _QUERY.sub(r"\1?[query]", text)
    text = _ADDRESS.sub("[address]", text)
    text = _QUOTED_ADDRESS.sub("[address]", text)
    return _TOKEN.sub("[secret]", text)


class SilentClientFilter(logging.Filter):
    """Drops what gunicorn says of a client that fell silent: a traceback for each, which is no news."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], BlockingIOError))


class RedactingFormatter(logging.Formatter):
    """Formats a record, its traceback included, and redacts the result."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))
