"""System checks: invalid or missing settings, and how to correct them."""

import os
import stat
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from core.client_address import UNIX
from mail.delivery.next_hop import next_hop_from
from mail.server.listening import DOORS, endpoint

LIMITS = (
    "ALIASES_PER_HOUR",
    "ALIASES_PER_DAY",
    "AUTH_FAILURES_PER_ADDRESS_PER_HOUR",
    "AUTH_FAILURES_PER_ACCOUNT_PER_HOUR",
    "ADDRESSES_PER_HOUR",
    "TAKEN_PER_DAY",
    "GRANTS_PER_HOUR",
    "ALIAS_RESTORE_DAYS",
    "DATABASE_POOL_SIZE",
    "WEB_THREADS",
    "PASSWORD_HASHES_AT_ONCE",
    "MAIL_THREADS",
    "MAIL_PROCESSES",
    "MAIL_CONNECTIONS",
    "MAIL_CONNECTIONS_PER_CLIENT",
    "MAIL_SIZE_LIMIT",
    "MAIL_MEMORY",
    "MAIL_LEAST_RATE",
    "MAIL_PATIENCE",
    "ACTIVITY_DAYS",
    "AUDIT_DAYS",
)
ENGINES = ("django.db.backends.sqlite3", "core.db.postgresql")

Check = Callable[[], list[CheckMessage]]


def _site(check: Check) -> Check:
    @register
    def registered(
        app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None, **kwargs: Any
    ) -> list[CheckMessage]:
        return check()

    return check


@_site
def check_readable() -> list[CheckMessage]:
    """Every value in the environment is valid."""
    return [
        Error(f"{name} is invalid.", hint=hint, id="anonmail.E006") for name, hint in settings.MISREAD.items()
    ]


@_site
def check_secret_key() -> list[CheckMessage]:
    """A key of at least 50 characters, as Django's own deployment check asks (security.W009)."""
    if len(settings.SECRET_KEY) >= 50:
        return []
    return [
        Error(
            "SECRET_KEY is shorter than 50 characters.",
            hint="Remove it and run `manage.py prepare`, which creates one, or set a longer random one.",
            id="anonmail.E001",
        )
    ]


@_site
def check_site_url() -> list[CheckMessage]:
    """SITE_URL is an absolute http(s) URL without a path."""
    url = urlsplit(settings.SITE_URL)
    if url.scheme in {"http", "https"} and url.hostname and not (url.path or url.query or url.fragment):
        return []
    return [
        Error(
            "SITE_URL is not the URL of a website.",
            hint="Write it as https://mail.example.com or http://127.0.0.1:8000, without a path.",
            id="anonmail.E002",
        )
    ]


@_site
def check_trusted_networks() -> list[CheckMessage]:
    """Trusted networks are valid, and not the whole internet."""
    dangers = {
        "TRUSTED_PROXIES": "any client can choose its own address.",
        "MAIL_TRUSTED_CLIENTS": "any client can use a whole listener for itself.",
    }
    return [message for name, danger in dangers.items() for message in _check_networks(name, danger)]


def _check_networks(name: str, danger: str) -> list[CheckMessage]:
    messages: list[CheckMessage] = []
    for entry in getattr(settings, name):
        if entry == UNIX:
            continue
        try:
            network = ip_network(entry)
        except ValueError:
            messages.append(
                Error(
                    f"{name} contains an entry that is not a network.",
                    hint="Write networks in CIDR form, as 10.0.0.0/8,fd00::/8, or unix for a UNIX socket.",
                    id="anonmail.E003",
                )
            )
            continue
        if network.prefixlen == 0:
            messages.append(
                Warning(
                    f"{name} trusts everyone: {danger}",
                    hint="Enter only the server's own address or network.",
                    id="anonmail.W001",
                )
            )
    return messages


@_site
def check_limits() -> list[CheckMessage]:
    """Every limit is at least 1."""
    return [
        Error(f"{name} must be at least 1.", hint=f"Correct or remove {name}.", id="anonmail.E004")
        for name in LIMITS
        if getattr(settings, name) < 1
    ]


@_site
def check_database() -> list[CheckMessage]:
    """The database is one that the code supports."""
    if settings.DATABASES["default"].get("ENGINE") in ENGINES:
        return []
    return [
        Error(
            "DATABASE_URL names a database that Anonmail does not support.",
            hint="Use sqlite:////path/to/file or postgres://user:password@host:5432/name.",
            id="anonmail.E005",
        )
    ]


@_site
def check_mail() -> list[CheckMessage]:
    """The mail server's listeners and next hop are valid."""
    messages: list[CheckMessage] = []
    readers: dict[str, Callable[[], object]] = {
        name: partial(endpoint, getattr(settings, name)) for name in DOORS.values() if getattr(settings, name)
    }
    readers["MAIL_NEXT_HOP"] = partial(
        next_hop_from, settings.MAIL_NEXT_HOP, settings.MAIL_HOSTNAME, settings.MAIL_NEXT_HOP_CA
    )
    for name, read in readers.items():
        try:
            read()
        except ValueError as error:
            hint = f"{error} Or remove {name}. docs/mail.md shows its forms."
            messages.append(Error(f"{name} is invalid.", hint=hint, id="anonmail.E007"))
        except OSError:
            hint = "Enter the path of a PEM file that this process can read."
            messages.append(
                Error("MAIL_NEXT_HOP_CA contains no certificates.", hint=hint, id="anonmail.E007")
            )
    return messages


@_site
def check_passwords() -> list[CheckMessage]:
    """Passwords for mail servers can be sent, and are sent only over TLS or within this machine."""
    messages: list[CheckMessage] = []
    password = str(settings.EMAIL_HOST_PASSWORD or "") + str(settings.EMAIL_HOST_USER or "")
    if not password.isascii():
        messages.append(
            Error(
                "EMAIL_URL has a user or a password with non-ASCII characters.",
                hint="Django cannot send these. Choose another password, or send through a local Postfix.",
                id="anonmail.E008",
            )
        )
    hop = urlsplit(settings.MAIL_NEXT_HOP)
    clear = {
        "MAIL_NEXT_HOP": hop.scheme == "smtp" and hop.password and hop.hostname,
        "EMAIL_URL": not (settings.EMAIL_USE_TLS or settings.EMAIL_USE_SSL)
        and password
        and settings.EMAIL_HOST,
    }
    messages += [
        Warning(
            f"{name} sends its password over the network without TLS.",
            hint="Write smtps:// or smtp+starttls:// (EMAIL_URL: smtp+tls:// or smtp+ssl://).",
            id="anonmail.W003",
        )
        for name, host in clear.items()
        if host and not _is_here(host)
    ]
    return messages


def _is_here(host: str) -> bool:
    """Whether the name or address is this machine's."""
    return host in {"localhost", "::1"} or host.startswith("127.")


@_site
def check_privacy() -> list[CheckMessage]:
    """Only their owner can read the secret key, the SQLite database and the mailed links."""
    messages: list[CheckMessage] = []
    database = settings.DATABASES["default"]
    paths = [Path(settings.SECRET_KEY_PATH), Path(settings.OUTBOX)]
    if database.get("ENGINE") == ENGINES[0]:
        paths.append(Path(database["NAME"]))
    for path in paths:
        if path.exists() and os.stat(path).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            messages.append(
                Warning(
                    f"Other users of this machine can open {path.name}.",
                    hint=f"Run: chmod go-rwx {path}",
                    id="anonmail.W002",
                )
            )
    return messages
