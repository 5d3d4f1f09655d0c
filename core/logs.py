"""A safety net: logs must hold ids, never addresses (of mail or IP), tokens or query strings."""

import json
import logging
import re
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

# Each pattern tries a run of characters once, from its start: a log line may be long, and clients choose
# what is in it.
_ADDRESS = re.compile(r"(?<![^\s<>()\[\]\"',;:=@])[^\s<>()\[\]\"',;:=@]++@[^\s<>()\[\]\"',;:=@]+")
# Mailed links grant a right by themselves.
_LINK = re.compile(r"(/reset/key/|/confirm-email/|/unsubscribe/)[^\s\"'?/]++")
_QUOTED_ADDRESS = re.compile(
    r"(?<![^\s<>()\[\]\"',;:=@/?&])[^\s<>()\[\]\"',;:=@/?&]*?%40[^\s<>()\[\]\"',;:=@/?&]+"
)
# Tokens are 40 to 60 letters and digits (tokens.models).
_TOKEN = re.compile(r"[A-Za-z0-9]{40,}")
_QUERY = re.compile(r"(?<![^\s?])(?=[^\s?]*/)([^\s?]*+)\?[^\s\"']+")

_IPV4 = re.compile(r"(?<![\w.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![\w.]*\w)")
# At least two colons; the parser decides which are addresses and which a time of day.
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]{0,37}(?![\w:])")


def _ip(match: re.Match[str]) -> str:
    """The replacement of an IP address in a log; loopback addresses stay."""
    # A full stop or colon may follow it in a sentence.
    for text in (match[0], match[0].rstrip(".:")):
        try:
            address = ip_address(text)
        except ValueError:
            continue
        if address.is_loopback or address.is_unspecified:
            break
        return "[ip]" + match[0][len(text) :]
    return match[0]


def redact(text: str) -> str:
    """`text` with every e-mail address, IP address, long secret and URL query replaced."""
    text = _LINK.sub(r"\1[key]", text)
    text = _QUERY.sub(r"\1?[query]", text)
    text = _ADDRESS.sub("[address]", text)
    text = _QUOTED_ADDRESS.sub("[address]", text)
    # IPv6 first: an IPv4 address may be its end.
    text = _IPV4.sub(_ip, _IPV6.sub(_ip, text))
    return _TOKEN.sub("[secret]", text)


class RedactingFormatter(logging.Formatter):
    """Formats a record, its traceback included, and redacts the result."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON, each of its texts redacted."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": redact(record.getMessage()),
        }
        if record.exc_info:
            line["traceback"] = redact(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def logging_config(level: str, form: str = "text") -> dict[str, Any]:
    """For `logging.config.dictConfig`: everything to standard error, redacted. `form`: text or json.

    Django and gunicorn both configure logging, one after the other, so both get the same.
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "text": {
                "()": "core.logs.RedactingFormatter",
                "format": "{asctime} {levelname} {name} {message}",
                "style": "{",
            },
            "json": {"()": "core.logs.JsonFormatter"},
        },
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "json" if form == "json" else "text",
            }
        },
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # Django's own handlers would print to the console a second time, unredacted.
            "django": {"handlers": [], "propagate": True},
            "django.server": {"handlers": [], "propagate": True},
            # aiosmtpd's own lines hold addresses, and whole messages at DEBUG.
            "mail.log": {"handlers": [], "propagate": False, "level": "CRITICAL"},
            "mail.debug": {"handlers": [], "propagate": False, "level": "CRITICAL"},
            # django-auth-ldap's hold the addresses and names of whoever signs in.
            "django_auth_ldap": {"handlers": [], "propagate": False, "level": "CRITICAL"},
            "gunicorn.error": {"handlers": [], "propagate": True, "level": "WARNING"},
            # waitress logs each request that waits for a thread.
            "waitress": {"handlers": [], "propagate": True, "level": "WARNING"},
            "waitress.queue": {"handlers": [], "propagate": False, "level": "ERROR"},
            # An access log would hold client addresses and query strings.
            "gunicorn.access": {"handlers": [], "propagate": False},
        },
    }
