"""System checks: settings that are wrong or missing, and what to do about it."""

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
    """Every value in the environment could be understood."""
    return [
        Error(f"{name} could not be understood.", hint=hint, id="anonmail.E006")
        for name, hint in settings.MISREAD.items()
    ]


@_site
def check_secret_key() -> list[CheckMessage]:
    """A key of at least 50 characters, as Django's own deployment check asks (security.W009)."""
    if len(settings.SECRET_KEY) >= 50:
        return []
    return [
        Error(
            "SECRET_KEY is shorter than 50 characters.",
            hint="Remove it and run `manage.py prepare`, which makes one, or set a longer random one.",
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
            "SITE_URL is no address of a web site.",
            hint="Write it as https://mail.example.com or http://127.0.0.1:8000, without a path.",
            id="anonmail.E002",
        )
    ]


@_site
def check_trusted_networks() -> list[CheckMessage]:
    """Every entry of the lists of those who are trusted is a network, or `unix`; not the whole internet."""
    dangers = {
        "TRUSTED_PROXIES": "any client can then choose its own address.",
        "MAIL_TRUSTED_CLIENTS": "any client can then take a whole door for itself.",
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
                    f"{name} has an entry that is no network.",
                    hint="Write networks in CIDR form, as 10.0.0.0/8,fd00::/8, or unix for a UNIX socket.",
                    id="anonmail.E003",
                )
            )
            continue
        if network.prefixlen == 0:
            messages.append(
                Warning(
                    f"{name} trusts everybody: {danger}",
                    hint="Name the proxy's own address or network.",
                    id="anonmail.W001",
                )
            )
    return messages


@_site
def check_limits() -> list[CheckMessage]:
    """Every limit is a number from 1."""
    return [
        Error(f"{name} must be at least 1.", hint=f"Correct or remove {name}.", id="anonmail.E004")
        for name in LIMITS
        if getattr(settings, name) < 1
    ]


@_site
def check_database() -> list[CheckMessage]:
    """The database is one of those whose locks the code relies on."""
    if settings.DATABASES["default"].get("ENGINE") in ENGINES:
        return []
    return [
        Error(
            "DATABASE_URL names a database that Anonmail does not run on.",
            hint="Use sqlite:////path/to/file or postgres://user:password@host:5432/name.",
            id="anonmail.E005",
        )
    ]


@_site
def check_mail() -> list[CheckMessage]:
    """The mail server can listen, and knows a next hop."""
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
            hint = f"{error} Or remove {name}; docs/mail.md shows its forms."
            messages.append(Error(f"{name} could not be understood.", hint=hint, id="anonmail.E007"))
        except OSError:
            hint = "It is the path of a PEM file that this process can read."
            messages.append(Error("MAIL_NEXT_HOP_CA holds no certificates.", hint=hint, id="anonmail.E007"))
    return messages


@_site
def check_passwords() -> list[CheckMessage]:
    """Passwords of mail servers can be sent, and only over TLS or within this machine."""
    messages: list[CheckMessage] = []
    password = str(settings.EMAIL_HOST_PASSWORD or "") + str(settings.EMAIL_HOST_USER or "")
    if not password.isascii():
        messages.append(
            Error(
                "EMAIL_URL has a user or a password with other characters than ASCII.",
                hint="Django cannot send these: choose another password, or send through a Postfix here.",
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
    """Whether the name or address is this machine's own."""
    return host in {"localhost", "::1"} or host.startswith("127.")


@_site
def check_privacy() -> list[CheckMessage]:
    """The secret key, the SQLite database and the mailed links are readable by their owner alone."""
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
