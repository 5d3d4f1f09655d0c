"""The net below the rule that logs carry ids only."""

import json
import logging
import os
import sys
from typing import Any

import pytest
from django.conf import settings

from core.logs import JsonFormatter, RedactingFormatter, logging_config, redact

TOKEN = "aB3" * 16


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail to alice@example.com failed", "mail to [address] failed"),
        ("<Alice+tag@bücher.example>, 'b@x.test'", "<[address]>, '[address]'"),
        (f"alice@example.com:{TOKEN}", "[address]:[secret]"),
        ("GET /api/alias/random/new?hostname=bank.test&x=1 done", "GET /api/alias/random/new?[query] done"),
        (
            "Key (address)=(github.alpha@example.com) already exists.",
            "Key (address)=([address]) already exists.",
        ),
        ("GET https://h.test/x?a=1&b=2", "GET https://h.test/x?[query]"),
        (f"key=alice%2Bx%40example.com%3A{TOKEN}", "key=[address]"),
        (f"key_{TOKEN}_", "key_[secret]_"),
        ("Is that so? Yes, 1/2 of it.", "Is that so? Yes, 1/2 of it."),
        ("alias 17 of user 3 disabled", "alias 17 of user 3 disabled"),
        (
            "Invalid request from ip=203.0.113.9: Invalid HTTP request line: 'x'",
            "Invalid request from ip=[ip]: Invalid HTTP request line: 'x'",
        ),
        ("Invalid request from ip=2001:db8::17: x", "Invalid request from ip=[ip]: x"),
        ("('2001:db8:0:1:2:3:4:5', 4711, 0, 0)", "('[ip]', 4711, 0, 0)"),
        ("peer ::ffff:203.0.113.9.", "peer [ip]."),
        ("[203.0.113.9]:25 and 203.0.113.9:25, fe80::1%eth0", "[[ip]]:25 and [ip]:25, [ip]%eth0"),
        ("2001:db8::", "[ip]"),
        ("127.0.0.1:8000 and [::1]:25 and 0.0.0.0", "127.0.0.1:8000 and [::1]:25 and 0.0.0.0"),
        (
            "2026-11-26 00:14:22,123 a::b.c 5.1.1 Django 5.2.19 1.2.3.4.5",
            "2026-11-26 00:14:22,123 a::b.c 5.1.1 Django 5.2.19 1.2.3.4.5",
        ),
    ],
)
def test_addresses_secrets_and_queries_are_replaced(text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize("part", ["x", "/", "/a", "a.", "x%40", "%", ":", "1.", "a:", "1.1.1.1:", ".."])
def test_the_time_it_takes_grows_with_the_line_and_not_faster(part: str) -> None:
    """A client chooses what is in the path, and so in the log: quadratic, this line took minutes."""
    line = part * 400_000

    assert len(redact(line)) <= len(line)


def test_tracebacks_and_arguments_are_redacted_too() -> None:
    try:
        raise ValueError("no alias alice@example.com")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "to %s", ("bob@x.test",), sys.exc_info())

    text = RedactingFormatter("%(message)s").format(record)

    assert "@" not in text
    assert "ValueError: no alias [address]" in text


def test_json_is_one_line_with_nothing_that_text_would_not_show() -> None:
    try:
        raise ValueError('no "alias"\nalice@example.com')
    except ValueError:
        record = logging.LogRecord(
            "mail.x", logging.ERROR, "f", 1, 'to "%s"\nüber %s', ("bob@x.test", 7), sys.exc_info()
        )
    record.created = 1_800_000_000.25

    line = JsonFormatter().format(record)
    found = json.loads(line)

    assert "\n" not in line
    assert "@" not in line
    assert {name: found[name] for name in ("time", "level", "logger", "process", "message")} == {
        "time": "2027-01-15T08:00:00.250+00:00",
        "level": "ERROR",
        "logger": "mail.x",
        "process": os.getpid(),
        "message": 'to "[address]"\nüber 7',
    }
    assert found["traceback"].endswith('ValueError: no "alias"\n[address]')


@pytest.mark.parametrize(
    ("form", "formatter"), [("text", "core.logs.RedactingFormatter"), ("json", "core.logs.JsonFormatter")]
)
def test_the_form_is_that_of_the_setting(form: str, formatter: str) -> None:
    config = logging_config("INFO", form)

    assert config["formatters"][config["handlers"]["stderr"]["formatter"]]["()"] == formatter


def test_everything_that_is_logged_goes_through_the_net() -> None:
    def handlers(section: dict[str, Any]) -> set[str]:
        return set(section.get("handlers", []))

    logging_settings = settings.LOGGING
    assert handlers(logging_settings["root"]) == {"stderr"}
    assert all(not handlers(logger) for logger in logging_settings["loggers"].values())
    formatter = logging_settings["handlers"]["stderr"]["formatter"]
    assert logging_settings["formatters"][formatter]["()"] == "core.logs.RedactingFormatter"


def test_the_web_server_keeps_no_access_log_and_its_errors_go_through_the_net() -> None:
    from anonmail_site import gunicorn_conf

    assert gunicorn_conf.accesslog is None
    config = gunicorn_conf.logconfig_dict
    assert config["loggers"]["gunicorn.error"]["propagate"]
    assert config["formatters"]["text"]["()"] == "core.logs.RedactingFormatter"


@pytest.mark.parametrize(
    "text",
    [
        "Forbidden: /accounts/password/reset/key/2-dijswr-e3c5532db/",
        "Not Found: /accounts/confirm-email/MTp3eXo:1x:abc/",
        "Invalid request: 'Authentication alice%40example.com'",
    ],
)
def test_mailed_keys_and_encoded_addresses_are_replaced(text: str) -> None:
    redacted = redact(text)

    assert not any(part in redacted for part in ("dijswr", "MTp3eXo", "alice"))
