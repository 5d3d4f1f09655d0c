"""All of Anonmail's settings.

They are read from the environment and from a file `.env` in BASE_DIR (see `.env.example` and
`environment.py`), except those of packages that are the same everywhere (`package_settings.py`).
"""

from contextlib import suppress
from email.utils import parseaddr
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

import django_stubs_ext
from csp.constants import NONE, SELF
from django.utils.translation import gettext_lazy as _

from anonmail_site import environment
from anonmail_site.environment import env, number, read_text
from anonmail_site.package_settings import *  # noqa: F403
from anonmail_site.package_settings import SPECTACULAR_SETTINGS
from anonmail_site.sign_in_settings import directory, openid_providers, trusted_proxy
from anonmail_site.url_settings import database, url
from core.logs import logging_config

# Allows generic types such as ModelForm[User] at run time.
django_stubs_ext.monkeypatch()

RESOURCES = environment.RESOURCES
BASE_DIR = environment.BASE_DIR
ENV_FILE = environment.ENV_FILE
MISREAD = environment.MISREAD

# --- This installation --------------------------------------------------------------------------

VAR_DIR = BASE_DIR / env.str("VAR_DIR", default="var")
DEBUG = env.bool("DEBUG", default=False)

# `manage.py prepare` creates a key if none is set. Without a key, Django does not start.
SECRET_KEY_PATH = VAR_DIR / "secret_key"
SECRET_KEY = env.str("SECRET_KEY", default="")
# Earlier keys: what was made under them is still accepted (docs/operations.md, "A new secret key").
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
SECRET_KEY_IS_IN_FILE = not SECRET_KEY
if SECRET_KEY_IS_IN_FILE:
    with suppress(FileNotFoundError):
        # The present key is the first line, and earlier ones are those below it.
        SECRET_KEY, *_earlier_keys = read_text(SECRET_KEY_PATH).split() or [""]
        SECRET_KEY_FALLBACKS += _earlier_keys

# The public URL of this server, without a trailing slash. https turns on secure cookies, HSTS and the
# redirect from http. Browsers allow passkeys over https and at localhost, not at 127.0.0.1.
SITE_URL = env.str("SITE_URL", default=f"http://localhost:{environment.PORT}").rstrip("/")
_site = urlsplit(SITE_URL)
HTTPS = _site.scheme == "https"
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
if _site.hostname and _site.hostname not in ALLOWED_HOSTS:
    ALLOWED_HOSTS.append(_site.hostname)
CSRF_TRUSTED_ORIGINS = [SITE_URL]

# Networks (CIDR) of proxies whose X-Forwarded-For and X-Forwarded-Proto are trusted.
TRUSTED_PROXIES = env.list("TRUSTED_PROXIES", default=[])
# Networks (CIDR; `unix` for a UNIX socket) of monitors that /health/ready tells what is wrong.
HEALTH_CLIENTS = env.list("HEALTH_CLIENTS", default=["127.0.0.0/8", "::1/128", "unix"])

# --- Signing in with what an organisation has (docs/sign-in.md) ----------------------------------

# Whether people sign in with passwords of this site. Off: only at a provider, or through a trusted proxy.
LOCAL_PASSWORDS = env.bool("LOCAL_PASSWORDS", default=True)
OIDC_PROVIDERS = openid_providers()
# The proxy that names people in headers (PROXY_USER_HEADER), or None.
TRUSTED_PROXY = trusted_proxy()
PROXY_SIGN_IN_HEADERS = TRUSTED_PROXY.meta_names if TRUSTED_PROXY else ()
# The directory whose passwords sign people in (LDAP_URI), or None.
LDAP_DIRECTORY = directory()
# Hours for which a sign-in that way lasts, so that rights are read anew. 0: as long as any other.
ORGANISATION_SESSION_HOURS = number("ORGANISATION_SESSION_HOURS", 24)

# --- Limits and policies ------------------------------------------------------------------------

SIGNUP_OPEN = env.bool("SIGNUP_OPEN", default=False)
ALIASES_PER_HOUR = number("ALIASES_PER_HOUR", 300)
ALIASES_PER_DAY = number("ALIASES_PER_DAY", 1000)
# Aliases that mail makes in a day in one name space (docs/on-the-fly.md); its owner may want fewer.
ALIASES_BY_MAIL_PER_DAY = number("ALIASES_BY_MAIL_PER_DAY", 100)
# Contacts that a person gets in a day: by mail that comes, and as many again by adding or writing to them.
CONTACTS_PER_DAY = number("CONTACTS_PER_DAY", 500)
# Messages that a user can send from aliases in a day.
REPLIES_PER_DAY = number("REPLIES_PER_DAY", 500)
# Failed token authentications before the answer becomes 429. A valid token always works.
AUTH_FAILURES_PER_ADDRESS_PER_HOUR = number("AUTH_FAILURES_PER_ADDRESS_PER_HOUR", 60)
AUTH_FAILURES_PER_ACCOUNT_PER_HOUR = number("AUTH_FAILURES_PER_ACCOUNT_PER_HOUR", 60)
# Adding an own address reveals whether it is an alias, so attempts are limited.
ADDRESSES_PER_HOUR = number("ADDRESSES_PER_HOUR", 20)
# Addresses of other people that a user can discover in a day by choosing names, importing rows and
# adding own addresses.
TAKEN_PER_DAY = number("TAKEN_PER_DAY", 30)
# E-mails to one user about sign-ins by apps and from new browsers.
SIGN_IN_MAILS_PER_DAY = number("SIGN_IN_MAILS_PER_DAY", 10)
# Granting access reveals whether an address has an account, so a manager's grants are limited.
GRANTS_PER_HOUR = number("GRANTS_PER_HOUR", 60)
# Checks of a domain's DNS records, and new DKIM keys, that a manager can request.
DNS_CHECKS_PER_HOUR = number("DNS_CHECKS_PER_HOUR", 60)
# Days for which audit entries are kept.
AUDIT_DAYS = number("AUDIT_DAYS", 365)
# Whether apps can exchange an e-mail address and a password for a token (POST /api/auth/login).
API_PASSWORD_LOGIN = env.bool("API_PASSWORD_LOGIN", default=True)
# Days for which a deleted alias can be restored.
ALIAS_RESTORE_DAYS = number("ALIAS_RESTORE_DAYS", 30)

# --- Django -------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "corsheaders",
    "csp",
    "django_htmx",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    # Ours come last: their admin modules unregister some of the above.
    "anonmail_site",
    "core",
    "accounts",
    "domains",
    "hooks",
    "rules",
    "aliases",
    "contacts",
    "tokens",
    "mail",
    "transfer",
]

MIDDLEWARE = [
    "anonmail_site.health.HealthMiddleware",
    "core.client_address.TrustedProxyMiddleware",
    "api.middleware.ApiMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "mail.autoconfig.AutoconfigMiddleware",
    "anonmail_site.static_files.StaticFilesMiddleware",
    # Adds octets at random, so that lengths tell nothing about what is in a page (BREACH).
    "django.middleware.gzip.GZipMiddleware",
    "csp.middleware.CSPMiddleware",
    "core.middleware.PrivatePagesMiddleware",
    "core.middleware.HtmxSignInMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.organisation.leaving.LeavingMiddleware",
    "accounts.appearance.LanguageMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "anonmail_site.bodies.BodyLimitMiddleware",
    "core.middleware.TooBusyMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "allauth.usersessions.middleware.UserSessionsMiddleware",
    "accounts.sign_ins.KnownBrowserMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "core.middleware.TimeZoneMiddleware",
]

# What a request for the API goes through after the first two of those: it needs no session or CSRF token.
API_MIDDLEWARE = [
    "api.middleware.HeadersMiddleware",
    "api.middleware.CorsMiddleware",
    "api.middleware.language_middleware",
    "api.middleware.JsonMiddleware",
    "api.middleware.host_middleware",
    "allauth.account.middleware.AccountMiddleware",
]

ROOT_URLCONF = "anonmail_site.urls"
WSGI_APPLICATION = "anonmail_site.wsgi.application"

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [RESOURCES / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "anonmail_site.views.navigation",
            ],
        },
    },
]

# --- Database -----------------------------------------------------------------------------------

DATABASE_POOL_SIZE = number("DATABASE_POOL_SIZE", 8)
DATABASES = {"default": database(f"sqlite:///{VAR_DIR / 'anonmail.sqlite3'}", DATABASE_POOL_SIZE)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# The sign-in pages' rate limits are counted in the cache, which all processes share.
CACHES = {
    "default": {
        "BACKEND": "core.cache.SharedCache",
        "LOCATION": "core_cache",
        # With Django's default of 300, anyone could flush the limits out with noise.
        "OPTIONS": {"MAX_ENTRIES": 1_000_000},
    },
}

# --- People -------------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["accounts.backends.PrimaryAddressBackend"]
if LDAP_DIRECTORY and find_spec("django_auth_ldap"):
    AUTHENTICATION_BACKENDS.append("accounts.organisation.ldap.DirectoryBackend")
WEB_WORKERS: int = environment.WEB_WORKERS
# Threads of each web process.
WEB_THREADS: int = environment.WEB_THREADS
WEB_DRAIN_SECONDS: int = environment.WEB_DRAIN_SECONDS
# Passwords that each process checks at the same time. Each takes 100 MiB.
PASSWORD_HASHES_AT_ONCE = number("PASSWORD_HASHES_AT_ONCE", 1)
PASSWORD_HASHERS = [
    "core.passwords.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 10},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "alias-list"

ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if HTTPS else "http"
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = _site.hostname == "localhost"

# --- The API ------------------------------------------------------------------------------------

SPECTACULAR_SETTINGS["SERVERS"] = [{"url": SITE_URL}]
# Bytes; a larger request body under /api/ is answered 413.
API_MAX_BODY_BYTES = 256 * 1024
# The same for pages, except the one that accepts files (anonmail_site.bodies).
PAGE_MAX_BODY_BYTES = 1024 * 1024

# --- Browsers -----------------------------------------------------------------------------------

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = HTTPS
SESSION_ENGINE = "accounts.session_store"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = 14 * 24 * 3600
SECURE_HSTS_SECONDS = number("HSTS_SECONDS", 365 * 24 * 3600 if HTTPS else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = env.bool("HSTS_INCLUDE_SUBDOMAINS", default=False)
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=HTTPS)
# A redirect breaks every API client: a POST would become a GET.
SECURE_REDIRECT_EXEMPT = [r"^/*api(/|$)", "^metrics$"]
SECURE_REFERRER_POLICY = "same-origin"
# Only a trusted proxy's header survives TrustedProxyMiddleware.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
X_FRAME_OPTIONS = "DENY"
SILENCED_SYSTEM_CHECKS = [
    # HSTS for subdomains and the preload list affect other hosts, so they are opt-in
    # (HSTS_INCLUDE_SUBDOMAINS).
    "security.W005",
    "security.W021",
]

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:"],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "object-src": [NONE],
    },
}

STATIC_URL = "static/"
STATICFILES_DIRS = [RESOURCES / "static"]
STATIC_ROOT = VAR_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

# --- Language and time --------------------------------------------------------------------------

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("de", _("German"))]
LOCALE_PATHS = [RESOURCES / "locale"]
USE_I18N = True
TIME_ZONE = env.str("TIME_ZONE", default="UTC")
USE_TZ = True

# --- Mail of the site itself (links for passwords and verification) -----------------------------

# Without EMAIL_URL such mail is written to files below var/outbox.
OUTBOX = VAR_DIR / "outbox"
vars().update(url(env.email_url, "EMAIL_URL", f"filemail:///{OUTBOX}", "EMAIL_BACKEND"))
# Seconds until a silent mail server counts as down, because threads wait for it.
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.str(
    "DEFAULT_FROM_EMAIL", default=f"Anonmail <noreply@{_site.hostname or 'localhost'}>"
)
DEFAULT_FROM_ADDRESS = parseaddr(DEFAULT_FROM_EMAIL)[1]
if vars()["EMAIL_BACKEND"] == "django.core.mail.backends.smtp.EmailBackend":
    EMAIL_BACKEND = "mail.site_mail.SigningBackend"

# --- Mail for aliases ---------------------------------------------------------------------------

# Our name in SMTP and in trace fields.
MAIL_HOSTNAME = env.str("MAIL_HOSTNAME", default=_site.hostname or "localhost")
# Listeners: an address and a port, or unix:/path; empty turns one off. SMTP is for the default setup and
# small sites; LMTP, policy, socket map and milter are for a Postfix in front.
MAIL_LISTEN = env.str("MAIL_LISTEN", default="127.0.0.1:2525")
# The directory that Anonmail shares with a Postfix in front, for UNIX sockets and the table of our domains
# (docs/mail.md).
MAIL_POSTFIX_DIRECTORY = env.str("MAIL_POSTFIX_DIRECTORY", default="").rstrip("/")
_sockets = MAIL_POSTFIX_DIRECTORY or str(VAR_DIR.resolve() / "sockets")
# A UNIX socket's path has at most 107 octets (unix(7)). If VAR_DIR is longer, these are off by default.
_unix = f"unix:{_sockets}/" if MAIL_POSTFIX_DIRECTORY or len(_sockets.encode()) < 97 else ""
MAIL_LMTP_LISTEN = env.str("MAIL_LMTP_LISTEN", default=_unix and _unix + "lmtp")
MAIL_POLICY_LISTEN = env.str("MAIL_POLICY_LISTEN", default=_unix and _unix + "policy")
MAIL_SOCKETMAP_LISTEN = env.str("MAIL_SOCKETMAP_LISTEN", default=_unix and _unix + "socketmap")
MAIL_MILTER_LISTEN = env.str("MAIL_MILTER_LISTEN", default=_unix and _unix + "milter")
# Where mail programs send from an alias (docs/submission.md): with STARTTLS, and with TLS from the start.
# Without a certificate, only this machine can sign in.
MAIL_SUBMISSION_LISTEN = env.str("MAIL_SUBMISSION_LISTEN", default="127.0.0.1:2587")
MAIL_SUBMISSION_TLS_LISTEN = env.str("MAIL_SUBMISSION_TLS_LISTEN", default="")
# maildir:///path, smtp://host:port, smtps://… or smtp+starttls://user:password@host:port
MAIL_NEXT_HOP = env.str("MAIL_NEXT_HOP", default=f"maildir://{VAR_DIR / 'mail'}")
# A PEM file of authorities for the next hop's certificate. Default: the system's authorities.
MAIL_NEXT_HOP_CA = env.str("MAIL_NEXT_HOP_CA", default="")
# The address for mail to postmaster@ and abuse@ of our domains. If empty, such mail is refused.
MAIL_POSTMASTER = env.str("MAIL_POSTMASTER", default="")
MAIL_SIZE_LIMIT = number("MAIL_SIZE_LIMIT", 25 * 1024 * 1024)  # octets
# Messages that one process forwards at once, and its connections to the next hop.
MAIL_MESSAGES_AT_ONCE = number("MAIL_MESSAGES_AT_ONCE", 20)
# Octets of all messages that one listener of a process receives at the same time; others must wait.
MAIL_MEMORY = number("MAIL_MEMORY", 256 * 1024 * 1024)
MAIL_PROCESSES = number("MAIL_PROCESSES", 1)
# Whether a process of its own answers at the policy service and the socket map. Default: if a Postfix asks.
MAIL_QUESTIONS_APART = env.bool("MAIL_QUESTIONS_APART", default=bool(MAIL_POSTFIX_DIRECTORY))
# Networks (CIDR; `unix` for UNIX sockets) of your own mail servers in front, which bring everyone's mail.
# The limits for a client (an IPv4 address or an IPv6 /64) do not apply to them.
MAIL_TRUSTED_CLIENTS = env.list("MAIL_TRUSTED_CLIENTS", default=["127.0.0.0/8", "::1/128", "unix"])
# Simultaneous connections of each listener and process, and of one client.
MAIL_CONNECTIONS = number("MAIL_CONNECTIONS", 200)
MAIL_CONNECTIONS_PER_CLIENT = number("MAIL_CONNECTIONS_PER_CLIENT", 20)
# A message that arrives at less than MAIL_LEAST_RATE octets a second is aborted once it is MAIL_PATIENCE
# seconds behind.
MAIL_LEAST_RATE = number("MAIL_LEAST_RATE", 1000)
MAIL_PATIENCE = number("MAIL_PATIENCE", 60)
# Unknown recipients that a client can name within ten minutes before it must wait, and within a day before
# only five in ten minutes are allowed. The SMTP listener and the policy service count together, unless
# MAIL_QUESTIONS_APART. 0: no limit.
MAIL_UNKNOWN_PER_CLIENT = number("MAIL_UNKNOWN_PER_CLIENT", 50)
MAIL_UNKNOWN_PER_DAY = number("MAIL_UNKNOWN_PER_DAY", 500)
MAIL_TLS_CERTIFICATE = env.str("MAIL_TLS_CERTIFICATE", default="")
MAIL_TLS_KEY = env.str("MAIL_TLS_KEY", default="")
# The names (authserv-id) under which your own mail servers in front write Authentication-Results (RFC 8601).
# They must remove such fields from mail that comes in. Empty: no such field is trusted.
MAIL_AUTHSERV_IDS = env.list("MAIL_AUTHSERV_IDS", default=[])
# Whether mail that Anonmail sends from one of its domains gets a DKIM signature: ours or off.
MAIL_DKIM = env.str("MAIL_DKIM", default="ours")
# The DNS servers that are asked about the domains' records, as 192.0.2.53 or 127.0.0.1:5353. Default: the
# system's (/etc/resolv.conf).
DNS_RESOLVERS = env.list("DNS_RESOLVERS", default=[])

# --- Web hooks (docs/hooks.md) ------------------------------------------------------------------

# Whether hooks may lead into private networks (10.0.0.0/8 and the like) and to this machine. Never to
# link-local addresses.
WEBHOOK_PRIVATE_NETWORKS = env.bool("WEBHOOK_PRIVATE_NETWORKS", default=False)
# A PEM file of authorities for the certificates of hooks' servers. Default: the system's authorities.
WEBHOOK_CA = env.str("WEBHOOK_CA", default="")

# --- Activity -----------------------------------------------------------------------------------

# Days for which mail activity (when, what, who wrote) is kept.
ACTIVITY_DAYS = number("ACTIVITY_DAYS", 30)

# --- Monitoring (docs/monitoring.md) ------------------------------------------------------------

# The token with which a monitoring system reads /metrics. Empty: nothing is counted, and the page is absent.
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")
# The DSN of a Sentry project to which errors are reported, without what they were about. Empty: none is sent.
SENTRY_DSN = env.str("SENTRY_DSN", default="")

# --- Logs: ids and codes, never addresses, tokens, query strings or bodies ----------------------

LOG_FORMAT = environment.LOG_FORMAT
LOGGING = logging_config(environment.LOG_LEVEL, LOG_FORMAT)
