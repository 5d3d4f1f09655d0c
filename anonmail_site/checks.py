"""System checks: invalid or missing settings, and how to correct them."""

import os
import re
import ssl
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from accounts.organisation.sources import ANY_DOMAIN, is_secure_url
from anonmail_site.first_steps import trouble_as_root
from core.client_address import UNIX
from core.listening import endpoint
from domains.dns.lookup import resolver_from
from mail.delivery.next_hop import next_hop_from
from mail.server.listening import DOORS

LIMITS = """
    ALIASES_PER_HOUR ALIASES_PER_DAY ALIASES_BY_MAIL_PER_DAY AUTH_FAILURES_PER_ADDRESS_PER_HOUR
    AUTH_FAILURES_PER_ACCOUNT_PER_HOUR ADDRESSES_PER_HOUR TAKEN_PER_DAY GRANTS_PER_HOUR
    DNS_CHECKS_PER_HOUR ALIAS_RESTORE_DAYS DATABASE_POOL_SIZE WEB_WORKERS WEB_THREADS PASSWORD_HASHES_AT_ONCE
    MAIL_MESSAGES_AT_ONCE
    MAIL_PROCESSES MAIL_CONNECTIONS MAIL_CONNECTIONS_PER_CLIENT MAIL_SIZE_LIMIT MAIL_MEMORY
    MAIL_LEAST_RATE MAIL_PATIENCE ACTIVITY_DAYS AUDIT_DAYS
""".split()  # noqa: SIM905
# What must stay secret in `.env`: a key or a password, or a URL with a password.
SECRET = re.compile(
    r"^(?:export )?(?:\w*(?:SECRET|PASSWORD|TOKEN|DSN)\w*(?<!_FILE)=.|\w+=\S*://[^/\s@]*:[^/\s@]+@)",
    re.MULTILINE,
)
# A line of `.env` that sets something.
SET = re.compile(r"^(?:export )?(\w+)=", re.MULTILINE)
# More would make a stop look like a server that hangs; TimeoutStopSec in deploy/systemd is longer.
DRAIN_SECONDS_MAX = 60
ENGINES = ("core.db.sqlite", "core.db.postgresql")

METRICS_TOKEN_MIN = 32

Check = Callable[[], Iterator[CheckMessage]]
# The tag of these checks. Django's own load every page to look at it.
OURS = "anonmail"


def _registered(check: Check, tag: str) -> Callable[[], list[CheckMessage]]:
    @register(tag)
    def registered(
        app_configs: Sequence[AppConfig] | None = None, databases: Sequence[str] | None = None, **kwargs: Any
    ) -> list[CheckMessage]:
        return list(check())

    return registered


def _site(check: Check) -> Callable[[], list[CheckMessage]]:
    """Register the check, which can be called without Django's arguments too."""
    return _registered(check, OURS)


@_site
def check_readable() -> Iterator[CheckMessage]:
    """Every value in the environment is valid."""
    for name, hint in settings.MISREAD.items():
        yield Error(f"{name} is invalid.", hint=hint, id="anonmail.E006")


@_site
def check_secret_key() -> Iterator[CheckMessage]:
    """A key of at least 50 characters, as Django's own deployment check asks (security.W009)."""
    if len(settings.SECRET_KEY) < 50:
        hint = "Remove it and run `manage.py prepare`, which creates one, or set a longer random one."
        yield Error("SECRET_KEY is shorter than 50 characters.", hint=hint, id="anonmail.E001")
    if any(len(key) < 50 for key in settings.SECRET_KEY_FALLBACKS):
        hint = "Write whole keys, with commas between them and nothing else."
        yield Error("SECRET_KEY_FALLBACKS has a key that is too short.", hint=hint, id="anonmail.E001")


@_site
def check_site_url() -> Iterator[CheckMessage]:
    """SITE_URL is an absolute http(s) URL without a path."""
    url = urlsplit(settings.SITE_URL)
    if url.scheme not in {"http", "https"} or not url.hostname or url.path or url.query or url.fragment:
        hint = "Write it as https://mail.example.com or http://localhost:8000, without a path."
        yield Error("SITE_URL is not the URL of a website.", hint=hint, id="anonmail.E002")


@_site
def check_trusted_networks() -> Iterator[CheckMessage]:
    """Trusted networks are valid, and not the whole internet."""
    dangers = {
        "TRUSTED_PROXIES": "any client can choose its own address.",
        "MAIL_TRUSTED_CLIENTS": "any client can use a whole listener for itself.",
        "HEALTH_CLIENTS": "any client learns which part of the site does not work.",
    }
    for name, danger in dangers.items():
        for entry in getattr(settings, name):
            try:
                trusts_everyone = entry != UNIX and ip_network(entry).prefixlen == 0
            except ValueError:
                hint = "Write networks in CIDR form, as 10.0.0.0/8,fd00::/8, or unix for a UNIX socket."
                yield Error(f"{name} contains an entry that is not a network.", hint=hint, id="anonmail.E003")
                continue
            if trusts_everyone:
                hint = "Enter only the server's own address or network."
                yield Warning(f"{name} trusts everyone: {danger}", hint=hint, id="anonmail.W001")


@_site
def check_limits() -> Iterator[CheckMessage]:
    """Every limit is at least 1."""
    for name in LIMITS:
        if getattr(settings, name) < 1:
            yield Error(f"{name} must be at least 1.", hint=f"Correct or remove {name}.", id="anonmail.E004")


@_site
def check_drain() -> Iterator[CheckMessage]:
    """The web server goes on for a while at most when it is told to stop."""
    if not 0 <= settings.WEB_DRAIN_SECONDS <= DRAIN_SECONDS_MAX:
        sentence = f"WEB_DRAIN_SECONDS must be from 0 to {DRAIN_SECONDS_MAX}."
        yield Error(sentence, hint="Correct or remove WEB_DRAIN_SECONDS.", id="anonmail.E004")


@_site
def check_database() -> Iterator[CheckMessage]:
    """The database is one that the code supports."""
    if settings.DATABASES["default"].get("ENGINE") not in ENGINES:
        hint = "Use sqlite:////path/to/file or postgres://user:password@host:5432/name."
        sentence = "DATABASE_URL names a database that Anonmail does not support."
        yield Error(sentence, hint=hint, id="anonmail.E005")


@_site
def check_mail() -> Iterator[CheckMessage]:
    """The mail server's listeners and next hop are valid."""
    if settings.MAIL_POSTFIX_DIRECTORY and not Path(settings.MAIL_POSTFIX_DIRECTORY).is_absolute():
        hint = "Enter an absolute path, as /var/spool/postfix/anonmail."
        yield Error("MAIL_POSTFIX_DIRECTORY is invalid.", hint=hint, id="anonmail.E007")
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
            yield Error(f"{name} is invalid.", hint=hint, id="anonmail.E007")
        except OSError:
            hint = "Enter the path of a PEM file that this process can read."
            yield Error("MAIL_NEXT_HOP_CA contains no certificates.", hint=hint, id="anonmail.E007")


@_site
def check_submission() -> Iterator[CheckMessage]:
    """Whoever can reach a submission listener can sign in there: over TLS, or on this machine."""
    if settings.MAIL_TLS_CERTIFICATE:
        return
    if settings.MAIL_SUBMISSION_TLS_LISTEN:
        hint = "Set MAIL_TLS_CERTIFICATE and MAIL_TLS_KEY."
        yield Error("MAIL_SUBMISSION_TLS_LISTEN needs a certificate.", hint=hint, id="anonmail.E010")
    try:
        place = endpoint(settings.MAIL_SUBMISSION_LISTEN)
    except ValueError:
        return  # Off, or reported by check_mail.
    if place.path is None and not _is_here(place.host):
        sentence = "MAIL_SUBMISSION_LISTEN is open to others, but nobody can sign in there without TLS."
        hint = "Set MAIL_TLS_CERTIFICATE and MAIL_TLS_KEY, or use an address of this machine (127.0.0.1)."
        yield Error(sentence, hint=hint, id="anonmail.E010")


@_site
def check_dns() -> Iterator[CheckMessage]:
    """Who signs, and the DNS servers, are written in a way that is understood."""
    if settings.MAIL_DKIM not in {"ours", "off"}:
        yield Error("MAIL_DKIM is invalid.", hint="Write ours or off.", id="anonmail.E009")
    try:
        if settings.DNS_RESOLVERS:
            resolver_from(settings.DNS_RESOLVERS)
    except ValueError:
        hint = "Write IP addresses, with a port if it is not 53, as 192.0.2.53,127.0.0.1:5353,[::1]:5353."
        yield Error("DNS_RESOLVERS is invalid.", hint=hint, id="anonmail.E009")


@_site
def check_hooks() -> Iterator[CheckMessage]:
    """The authorities for web hooks can be read, and no stranger can reach into private networks."""
    if settings.WEBHOOK_PRIVATE_NETWORKS and settings.SIGNUP_OPEN:
        sentence = "WEBHOOK_PRIVATE_NETWORKS and SIGNUP_OPEN: anybody can send requests into your network."
        yield Warning(sentence, hint="Turn one of them off.", id="anonmail.W030")
    if not settings.WEBHOOK_CA:
        return
    try:
        ssl.create_default_context(cafile=settings.WEBHOOK_CA)
    except OSError:
        hint = "Enter the path of a PEM file that this process can read."
        yield Error("WEBHOOK_CA contains no certificates.", hint=hint, id="anonmail.E030")


@_site
def check_monitoring() -> Iterator[CheckMessage]:
    """Nobody can guess the token for /metrics, and errors can be reported where they should be."""
    if settings.METRICS_TOKEN and len(settings.METRICS_TOKEN) < METRICS_TOKEN_MIN:
        hint = "Make a random one: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
        sentence = f"METRICS_TOKEN is shorter than {METRICS_TOKEN_MIN} characters."
        yield Error(sentence, hint=hint, id="anonmail.E020")
    if not settings.SENTRY_DSN:
        return
    if find_spec("sentry_sdk") is None:
        hint = "Run: pip install sentry-sdk (requirements-sentry.txt has the version that was tried)."
        yield Error("SENTRY_DSN is set, but sentry-sdk is not installed.", hint=hint, id="anonmail.E021")
    elif not urlsplit(settings.SENTRY_DSN).username:
        hint = "Copy it from the project's settings, as https://key@sentry.example.com/1."
        yield Error("SENTRY_DSN is invalid.", hint=hint, id="anonmail.E021")


@_site
def check_passwords() -> Iterator[CheckMessage]:
    """Passwords for mail servers can be sent, and are sent only over TLS or within this machine."""
    password = str(settings.EMAIL_HOST_PASSWORD or "") + str(settings.EMAIL_HOST_USER or "")
    if not password.isascii():
        sentence = "EMAIL_URL has a user or a password with non-ASCII characters."
        hint = "Django cannot send these. Choose another password, or send through a local Postfix."
        yield Error(sentence, hint=hint, id="anonmail.E008")
    hop = urlsplit(settings.MAIL_NEXT_HOP)
    has_tls = settings.EMAIL_USE_TLS or settings.EMAIL_USE_SSL
    clear = {
        "MAIL_NEXT_HOP": hop.scheme == "smtp" and hop.password and hop.hostname,
        "EMAIL_URL": not has_tls and password and settings.EMAIL_HOST,
    }
    for name, host in clear.items():
        if host and not _is_here(host):
            sentence = f"{name} sends its password over the network without TLS."
            hint = "Write smtps:// or smtp+starttls:// (EMAIL_URL: smtp+tls:// or smtp+ssl://)."
            yield Warning(sentence, hint=hint, id="anonmail.W003")


def _is_here(host: str) -> bool:
    """Whether the name or address is this machine's."""
    return host in {"localhost", "::1"} or host.startswith("127.")


def check_user() -> Iterator[CheckMessage]:
    """Commands run as the user whose the installation is."""
    if trouble := trouble_as_root():
        yield Warning("This is root.", hint=trouble, id="anonmail.W005")


# Not for commands that are root's to run, which ask for OURS alone.
_registered(check_user, "user")


@_site
def check_env_file() -> Iterator[CheckMessage]:
    """The file with the settings sets each once, and others cannot read it if it holds a secret."""
    path = settings.ENV_FILE
    if not path or not path.is_file():
        return
    text = path.read_text("utf-8-sig")
    for name, number in Counter(SET.findall(text)).items():
        if number > 1:
            hint = "The last line counts: remove the others."
            yield Warning(f"{path} sets {name} {number} times.", hint=hint, id="anonmail.W006")
    if path.stat().st_mode & stat.S_IROTH and SECRET.search(text):
        sentence = f"Other users of this machine can read {path}, which holds a password or a key."
        yield Warning(sentence, hint=f"Run: chmod o-rwx {path}", id="anonmail.W004")


@_site
def check_privacy() -> Iterator[CheckMessage]:
    """Only their owner can read the secret key, the SQLite database and the mailed links."""
    database = settings.DATABASES["default"]
    paths = [Path(settings.SECRET_KEY_PATH), Path(settings.OUTBOX)]
    if database.get("ENGINE") == ENGINES[0]:
        paths.append(Path(database["NAME"]))
    for path in paths:
        if os.path.exists(path) and os.stat(path).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            sentence = f"Other users of this machine can open {path.name}."
            yield Warning(sentence, hint=f"Run: chmod go-rwx {path}", id="anonmail.W002")


@_site
def check_sign_in() -> Iterator[CheckMessage]:
    """Somebody can sign in, and nobody can claim to be somebody else on the way."""
    providers, proxy, directory = settings.OIDC_PROVIDERS, settings.TRUSTED_PROXY, settings.LDAP_DIRECTORY
    for provider in providers:
        name = f"OIDC_{provider.key.upper().replace('-', '_')}"
        url = urlsplit(provider.issuer)
        if not is_secure_url(provider.issuer) or url.query or url.fragment:
            hint = (
                "Write the issuer as the provider does, with https://, as https://id.example.com/realms/main."
            )
            yield Error(f"{name}_ISSUER is not a secure URL.", hint=hint, id="anonmail.E035")
        if provider.trusts_addresses and ANY_DOMAIN in provider.new_people:
            sentence = f"{name} can claim any address: accounts come with addresses that nobody has verified."
            hint = f"Name the domains in {name}_NEW_PEOPLE, or remove {name}_TRUST_EMAIL."
            yield Warning(sentence, hint=hint, id="anonmail.W031")
    if settings.ORGANISATION_SESSION_HOURS < 0:
        hint = "Write a number of hours, or 0 for as long as any other session."
        yield Error("ORGANISATION_SESSION_HOURS is negative.", hint=hint, id="anonmail.E004")
    if proxy is not None and not settings.TRUSTED_PROXIES:
        hint = "Enter the proxy's address or network in TRUSTED_PROXIES."
        yield Error("PROXY_USER_HEADER is set, but no proxy is trusted.", hint=hint, id="anonmail.E031")
    if directory is not None:
        if find_spec("django_auth_ldap") is None:
            hint = "Run: pip install -r requirements-ldap.txt (docs/sign-in.md)."
            yield Error(
                "LDAP_URI is set, but django-auth-ldap is not installed.", hint=hint, id="anonmail.E033"
            )
        if {urlsplit(uri).scheme for uri in directory.uris} - {"ldap", "ldaps", "ldapi"}:
            yield Error(
                "LDAP_URI is invalid.", hint="Write it as ldaps://ldap.example.com.", id="anonmail.E034"
            )
        elif not directory.has_secure_way:
            hint = "Write ldaps://, or set LDAP_START_TLS=true."
            yield Error(
                "LDAP_URI sends passwords over the network without TLS.", hint=hint, id="anonmail.E034"
            )
        if directory.gives_rights and not directory.group_base:
            hint = "Write where the groups are, as ou=groups,dc=example,dc=com."
            yield Error(
                "LDAP groups give rights, but LDAP_GROUP_BASE is empty.", hint=hint, id="anonmail.E034"
            )
    if not (settings.LOCAL_PASSWORDS or providers or proxy or directory):
        hint = (
            "Set OIDC_PROVIDERS, LDAP_URI or PROXY_USER_HEADER, or remove LOCAL_PASSWORDS (docs/sign-in.md)."
        )
        yield Error("LOCAL_PASSWORDS is off, and nobody can sign in.", hint=hint, id="anonmail.E032")


@register(OURS, deploy=True)
def check_client_secrets(app_configs: object = None, **kwargs: object) -> list[CheckMessage]:
    """Secrets for providers are in files, and not in an environment that child processes inherit."""
    secrets = r"OIDC_\w+_CLIENT_SECRET|LDAP_BIND_PASSWORD"
    names = [name for name in os.environ if re.fullmatch(secrets, name)]
    hint = "Write the secret to a file of the service's user, and its path into {}_FILE."
    return [
        Warning(f"{name} is in the environment.", hint=hint.format(name), id="anonmail.W007")
        for name in sorted(names)
        if os.environ[name]
    ]
