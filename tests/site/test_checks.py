"""System checks refuse wrong settings and say what to do."""

from pathlib import Path

import pytest
from django.core.checks import run_checks
from pytest_django import Settings


def ids() -> set[str | None]:
    return {message.id for message in run_checks() if message.id and message.id.startswith("anonmail.")}


def test_the_defaults_pass() -> None:
    assert ids() == set()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("SECRET_KEY", "short", "anonmail.E001"),
        ("SITE_URL", "mail.example.com", "anonmail.E002"),
        ("SITE_URL", "https://mail.example.com/sub", "anonmail.E002"),
        ("SITE_URL", "ftp://mail.example.com", "anonmail.E002"),
        ("TRUSTED_PROXIES", ["10.0.0.0/8", "proxy"], "anonmail.E003"),
        ("TRUSTED_PROXIES", ["0.0.0.0/0"], "anonmail.W001"),
        ("ALIASES_PER_HOUR", 0, "anonmail.E004"),
        ("ALIAS_RESTORE_DAYS", -1, "anonmail.E004"),
        ("MISREAD", {"PORT": "Write a whole number."}, "anonmail.E006"),
        ("MAIL_LISTEN", "2525", "anonmail.E007"),
        ("MAIL_LISTEN", "127.0.0.1:smtp", "anonmail.E007"),
        ("MAIL_LISTEN", "127.0.0.1:70000", "anonmail.E007"),
        ("MAIL_NEXT_HOP", "127.0.0.1:25", "anonmail.E007"),
        ("MAIL_NEXT_HOP", "smtp://mx.test:port", "anonmail.E007"),
    ],
)
def test_a_wrong_setting_is_named(settings: Settings, name: str, value: object, expected: str) -> None:
    from anonmail_site import checks

    setattr(settings, name, value)
    found = [
        message
        for check in (
            checks.check_readable,
            checks.check_secret_key,
            checks.check_site_url,
            checks.check_trusted_proxies,
            checks.check_limits,
            checks.check_mail,
        )
        for message in check()
    ]

    assert [message.id for message in found] == [expected]
    assert found[0].hint


def test_a_database_whose_locks_nobody_tried_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.conf import settings

    from anonmail_site import checks

    monkeypatch.setitem(settings.DATABASES["default"], "ENGINE", "django.db.backends.mysql")

    assert [message.id for message in checks.check_database()] == ["anonmail.E005"]


def test_a_unix_socket_may_be_trusted(settings: Settings) -> None:
    settings.TRUSTED_PROXIES = ["unix", "127.0.0.1"]

    assert ids() == set()


def test_a_key_that_others_can_read_is_a_warning(settings: Settings, tmp_path: Path) -> None:
    key = tmp_path / "secret_key"
    key.write_text("x")
    settings.SECRET_KEY_PATH = key
    key.chmod(0o644)
    assert ids() == {"anonmail.W002"}

    key.chmod(0o600)
    assert ids() == set()
