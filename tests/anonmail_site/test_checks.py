"""System checks refuse wrong settings and say what to do."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from pytest_django import Settings

from accounts.organisation.sources import Directory, OpenIdProvider, TrustedProxy

ROOT = Path(__file__).resolve().parent.parent.parent


def provider(**changes: Any) -> OpenIdProvider:
    known = {"issuer": "https://id.example.com", **changes}
    return OpenIdProvider(key="main", name="Main", client_id="anonmail", **known)


def directory(**changes: Any) -> Directory:
    known = {"uri": "ldaps://ldap.example.com", **changes}
    return Directory(key="ldap", name="LDAP", issuer="ldap", user_base="dc=example", **known)


PROXY = TrustedProxy(key="proxy", name="Proxy", issuer="proxy", user_header="X-User", email_header="X-Email")


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
        ("MAIL_TRUSTED_CLIENTS", ["unix", "postfix"], "anonmail.E003"),
        ("MAIL_TRUSTED_CLIENTS", ["::/0"], "anonmail.W001"),
        ("MAIL_LEAST_RATE", 0, "anonmail.E004"),
        ("ALIASES_PER_HOUR", 0, "anonmail.E004"),
        ("ALIAS_RESTORE_DAYS", -1, "anonmail.E004"),
        ("WEB_DRAIN_SECONDS", -1, "anonmail.E004"),
        ("ORGANISATION_SESSION_HOURS", -1, "anonmail.E004"),
        ("WEB_DRAIN_SECONDS", 61, "anonmail.E004"),
        ("MISREAD", {"PORT": "Write a whole number."}, "anonmail.E006"),
        ("MAIL_LISTEN", "2525", "anonmail.E007"),
        ("MAIL_LISTEN", "127.0.0.1:smtp", "anonmail.E007"),
        ("MAIL_LISTEN", "127.0.0.1:70000", "anonmail.E007"),
        ("MAIL_POSTFIX_DIRECTORY", "postfix/anonmail", "anonmail.E007"),
        ("MAIL_NEXT_HOP", "127.0.0.1:25", "anonmail.E007"),
        ("MAIL_NEXT_HOP", "smtp://mx.test:port", "anonmail.E007"),
        ("MAIL_NEXT_HOP", "smtps://user:p%FC@mx.test", "anonmail.E007"),
        ("MAIL_NEXT_HOP", "smtp://user:password@mx.test", "anonmail.W003"),
        ("EMAIL_HOST_PASSWORD", "pässwört", "anonmail.E008"),
        ("MAIL_NEXT_HOP", "maildir://var/mail", "anonmail.E007"),
        ("MAIL_NEXT_HOP", "maildir:var/mail", "anonmail.E007"),
        ("MAIL_NEXT_HOP", "maildir:", "anonmail.E007"),
        ("MAIL_DKIM", "yes", "anonmail.E009"),
        ("DNS_RESOLVERS", ["dns.example.com"], "anonmail.E009"),
        ("DNS_RESOLVERS", ["127.0.0.1:dns"], "anonmail.E009"),
        ("WEBHOOK_CA", "/nowhere.pem", "anonmail.E030"),
        ("MAIL_SUBMISSION_LISTEN", "587", "anonmail.E007"),
        ("MAIL_SUBMISSION_LISTEN", "0.0.0.0:587", "anonmail.E010"),
        ("MAIL_SUBMISSION_TLS_LISTEN", "127.0.0.1:465", "anonmail.E010"),
        ("METRICS_TOKEN", "x" * 31, "anonmail.E020"),
        ("SENTRY_DSN", "https://sentry.example.com/1", "anonmail.E021"),
        ("OIDC_PROVIDERS", (provider(issuer="http://id.example.com"),), "anonmail.E035"),
        ("OIDC_PROVIDERS", (provider(issuer="id.example.com"),), "anonmail.E035"),
        ("OIDC_PROVIDERS", (provider(issuer="https://id.example.com/?realm=x"),), "anonmail.E035"),
        ("OIDC_PROVIDERS", (provider(new_people=("*",), trusts_addresses=True),), "anonmail.W031"),
        ("TRUSTED_PROXY", PROXY, "anonmail.E031"),
        ("LOCAL_PASSWORDS", False, "anonmail.E032"),
        ("LDAP_DIRECTORY", directory(uri="ldap://ldap.example.com"), "anonmail.E034"),
        ("LDAP_DIRECTORY", directory(uri="https://ldap.example.com"), "anonmail.E034"),
        ("LDAP_DIRECTORY", directory(uri="ldaps://a.example.com ldap://b.example.com"), "anonmail.E034"),
        ("LDAP_DIRECTORY", directory(uri="ldap://127.0.0.1,ldap://b.example.com"), "anonmail.E034"),
        ("LDAP_DIRECTORY", directory(admin_group="admins"), "anonmail.E034"),
    ],
)
def test_a_wrong_setting_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str, value: object, expected: str
) -> None:
    from anonmail_site import checks

    monkeypatch.setattr("anonmail_site.checks.find_spec", lambda package: package)
    setattr(settings, name, value)
    found = [
        message
        for check in (
            checks.check_readable,
            checks.check_secret_key,
            checks.check_site_url,
            checks.check_trusted_networks,
            checks.check_limits,
            checks.check_drain,
            checks.check_mail,
            checks.check_submission,
            checks.check_dns,
            checks.check_hooks,
            checks.check_monitoring,
            checks.check_passwords,
            checks.check_sign_in,
        )
        for message in check()
    ]

    assert [message.id for message in found] == [expected]
    assert found[0].hint


def test_a_file_without_authorities_is_named(settings: Settings, tmp_path: Path) -> None:
    from anonmail_site import checks

    settings.MAIL_NEXT_HOP = "smtps://mx.test"
    for path in (tmp_path / "missing.pem", tmp_path):
        settings.MAIL_NEXT_HOP_CA = str(path)
        assert [message.id for message in checks.check_mail()] == ["anonmail.E007"]


@pytest.mark.parametrize(
    ("next_hop", "expected"),
    [
        ("smtp://user:password@127.0.0.1", set()),
        ("smtp://user:password@[::1]:25", set()),
        ("smtps://user:password@mx.test", set()),
        ("smtp://mx.test", set()),
        ("smtp://user:password@mx.test", {"anonmail.W003"}),
    ],
)
def test_a_password_leaves_this_machine_over_tls_alone(
    settings: Settings, next_hop: str, expected: set[str]
) -> None:
    settings.MAIL_NEXT_HOP = next_hop

    assert ids() == expected


def test_strangers_may_not_send_into_private_networks(settings: Settings) -> None:
    settings.WEBHOOK_PRIVATE_NETWORKS = True
    assert "anonmail.W030" not in ids()

    settings.SIGNUP_OPEN = True
    assert "anonmail.W030" in ids()


def test_the_same_holds_for_the_sites_own_mail(settings: Settings) -> None:
    settings.EMAIL_HOST, settings.EMAIL_HOST_PASSWORD = "mx.test", "password"
    assert ids() == {"anonmail.W003"}

    settings.EMAIL_USE_TLS = True
    assert ids() == set()


def test_a_database_whose_locks_nobody_tried_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.conf import settings

    from anonmail_site import checks

    monkeypatch.setitem(settings.DATABASES["default"], "ENGINE", "django.db.backends.mysql")

    assert [message.id for message in checks.check_database()] == ["anonmail.E005"]


@pytest.mark.parametrize(
    "uri", ["ldaps://ldap.example.com", "ldap://127.0.0.1:389", "ldapi:///var/run/ldapi", "ldap://localhost"]
)
def test_a_directory_gets_passwords_over_tls_or_on_this_machine(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    from anonmail_site import checks

    monkeypatch.setattr("anonmail_site.checks.find_spec", lambda package: package)
    settings.LDAP_DIRECTORY = directory(uri=uri)
    assert list(checks.check_sign_in()) == []

    settings.LDAP_DIRECTORY = directory(uri="ldap://ldap.example.com", start_tls=True)
    assert list(checks.check_sign_in()) == []


def test_a_directory_needs_its_library(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from anonmail_site import checks

    monkeypatch.setattr("anonmail_site.checks.find_spec", lambda package: None)
    settings.LDAP_DIRECTORY = directory()

    assert [message.id for message in checks.check_sign_in()] == ["anonmail.E033"]


def test_a_deployment_keeps_secrets_in_files(monkeypatch: pytest.MonkeyPatch) -> None:
    from anonmail_site import checks

    assert checks.check_client_secrets() == []
    monkeypatch.setenv("OIDC_MAIN_CLIENT_SECRET_FILE", "/run/secrets/main")
    assert checks.check_client_secrets() == []
    monkeypatch.setenv("OIDC_MAIN_CLIENT_SECRET", "s3cret-of-main")

    (warning,) = checks.check_client_secrets()

    assert warning.id == "anonmail.W007"
    assert "s3cret" not in f"{warning}"


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


def test_the_hint_says_how_a_maildir_is_written_and_never_a_password(settings: Settings) -> None:
    from anonmail_site import checks

    hints = []
    for url in ("maildir://var/mail", "smtp://user:secret/x@mx.test:25"):
        settings.MAIL_NEXT_HOP = url
        hints += [message.hint or "" for message in checks.check_mail()]

    assert "after three slashes: maildir:///srv/mail." in hints[0]
    assert "smtp://host:port" in hints[1]
    assert "secret" not in hints[1]


def ask(directory: Path, **environment: str) -> list[str]:
    """What the settings say in a process that was started elsewhere: three paths, and what was misread."""
    code = (
        "from django.conf import settings as s; print(s.DATABASES['default']['NAME'], s.MAIL_NEXT_HOP,"
        " getattr(s, 'EMAIL_FILE_PATH', ''), *s.MISREAD.values(), sep='\\n')"
    )
    env = {"PATH": os.environ["PATH"], "ENV_FILE": "", "SECRET_KEY": "x" * 50, "PYTHONPATH": str(ROOT)}
    env |= {"DJANGO_SETTINGS_MODULE": "anonmail_site.settings", **environment}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, cwd=directory, env=env, check=True, capture_output=True, text=True
    ).stdout.splitlines()


def test_relative_paths_do_not_depend_on_where_a_process_was_started(tmp_path: Path) -> None:
    relative = ask(tmp_path, DATABASE_URL="sqlite:///var/x.sqlite3", EMAIL_URL="filemail:///var/out")
    whole = ask(tmp_path, DATABASE_URL="sqlite:////srv/x.sqlite3", EMAIL_URL="filemail:////srv/out")
    below = ask(tmp_path, VAR_DIR="elsewhere")

    default = f"maildir://{ROOT}/var/mail"
    assert relative == [f"{ROOT}/var/x.sqlite3", default, f"{ROOT}/var/out"]
    assert whole == ["/srv/x.sqlite3", default, "/srv/out"]
    place = f"{ROOT}/elsewhere"
    assert below == [f"{place}/anonmail.sqlite3", f"maildir://{place}/mail", f"{place}/outbox"]
    assert ask(tmp_path, DATABASE_URL="sqlite://:memory:")[0] == ":memory:"


def test_a_folder_that_would_be_taken_for_a_host_is_refused(tmp_path: Path) -> None:
    found = ask(tmp_path, DATABASE_URL="sqlite://var/x.sqlite3", EMAIL_URL="filemail://var/out")

    assert found[3:] == [
        "Write sqlite:/// and a path, as sqlite:///var/name or sqlite:////srv/name.",
        "Write filemail:/// and a path, as filemail:///var/name or filemail:////srv/name.",
    ]
    for url in ("sqlite:var/x", "sqlite:/var/x", "filemail:/var/x"):
        name = "EMAIL_URL" if url.startswith("filemail") else "DATABASE_URL"
        assert len(ask(tmp_path, **{name: url})) == 4, url
