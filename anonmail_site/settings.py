"""Anonmail's settings, all of them, read top to bottom.

Input comes from the environment and from a file `.env` beside manage.py (see `.env.example`); any
NAME may also be given as NAME_FILE, the path of a file that holds the value.
"""

import warnings
from collections.abc import Callable
from email.utils import parseaddr
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import django_stubs_ext
import environ
from csp.constants import NONE, SELF
from django.utils.translation import gettext_lazy as _

from core.logs import logging_config

# So that classes can say what they hold (ModelForm[User]) at run time too.
django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.FileAwareEnv()
ENV_FILE = env.str("ENV_FILE", default=str(BASE_DIR / ".env"))
if ENV_FILE and Path(ENV_FILE).is_file():
    env.read_env(ENV_FILE)

# Values that could not be understood, and what to do about each: a system check reports them all.
MISREAD: dict[str, str] = {}


def number(name: str, default: int) -> int:
    """The whole number in the environment, or the default; what is no number is noted in MISREAD."""
    try:
        return int(env.str(name, default="") or default)
    except ValueError:
        MISREAD[name] = "Write a whole number."
        return default


# What holds the path in what is read from a URL of a file.
FILE_PATHS = {"sqlite": "NAME", "filemail": "EMAIL_FILE_PATH"}


def with_whole_path(name: str, found: dict[str, Any]) -> str:
    """Make the path in a file's URL a whole one, below BASE_DIR, wherever a process was started.

    What to write instead, where two slashes make a host of its first folder; else "".
    """
    scheme, _colon, rest = env.str(name, default="").partition(":")
    key = FILE_PATHS.get(scheme)
    if key is None or found[key] == ":memory:":
        return ""
    if not rest.startswith("///") or not found[key]:
        return f"Write {scheme}:/// and a path, as {scheme}:///var/name or {scheme}:////srv/name."
    found[key] = str(BASE_DIR / found[key])
    return ""


def url(reader: Callable[..., Any], name: str, default: str, needs: str) -> Any:
    """The configuration behind a URL in the environment; one without `needs` is noted in MISREAD."""
    problem = ""
    try:
        with warnings.catch_warnings():
            # django-environ's warning would print the password
            warnings.simplefilter("ignore")
            found = reader(name, default=default)
        if found.get(needs) and not (problem := with_whole_path(name, found)):
            return found
    except Exception:  # noqa: S110 - the readers raise whatever their parsing meets
        pass
    MISREAD[name] = problem or "Write a URL as in .env.example."
    return reader("", default=default)


# --- What this installation is -----------------------------------------------------------------

VAR_DIR = BASE_DIR / env.str("VAR_DIR", default="var")
DEBUG = env.bool("DEBUG", default=False)

# Made by `manage.py prepare` where none is given; without one Django does not start.
SECRET_KEY_PATH = VAR_DIR / "secret_key"
SECRET_KEY = env.str("SECRET_KEY", default="")
if not SECRET_KEY and SECRET_KEY_PATH.is_file():
    SECRET_KEY = SECRET_KEY_PATH.read_text().strip()

# Where people reach this server, without a trailing slash. https switches on secure cookies,
# HSTS and the redirect from http.
PORT = number("PORT", 8000)
SITE_URL = env.str("SITE_URL", default=f"http://127.0.0.1:{PORT}").rstrip("/")
_site = urlsplit(SITE_URL)
HTTPS = _site.scheme == "https"
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
if _site.hostname and _site.hostname not in ALLOWED_HOSTS:
    ALLOWED_HOSTS.append(_site.hostname)
CSRF_TRUSTED_ORIGINS = [SITE_URL]

# Networks (CIDR) whose X-Forwarded-For and X-Forwarded-Proto are believed. Empty: nobody's.
TRUSTED_PROXIES = env.list("TRUSTED_PROXIES", default=[])

# --- Rules that an installation may set --------------------------------------------------------

SIGNUP_OPEN = env.bool("SIGNUP_OPEN", default=False)
ALIASES_PER_HOUR = number("ALIASES_PER_HOUR", 300)
ALIASES_PER_DAY = number("ALIASES_PER_DAY", 1000)
# Failed token authentications before the answer becomes 429. They never shut out a valid token.
AUTH_FAILURES_PER_ADDRESS_PER_HOUR = number("AUTH_FAILURES_PER_ADDRESS_PER_HOUR", 60)
AUTH_FAILURES_PER_ACCOUNT_PER_HOUR = number("AUTH_FAILURES_PER_ACCOUNT_PER_HOUR", 60)
# Whether an address may be added tells whether it is an alias: so many tries a user gets.
ADDRESSES_PER_HOUR = number("ADDRESSES_PER_HOUR", 20)
# A chosen name, an imported row or an added address tells whether it is somebody else's alias: so many
# of these a user gets to know in a day.
TAKEN_PER_DAY = number("TAKEN_PER_DAY", 30)
# Sign-ins by apps and from new browsers that one user is told of by mail.
SIGN_IN_MAILS_PER_DAY = number("SIGN_IN_MAILS_PER_DAY", 10)
# A grant tells whether an address has an account: so many answers a manager gets.
GRANTS_PER_HOUR = number("GRANTS_PER_HOUR", 60)
# Days for which it is kept what admins and managers did to other people's things.
AUDIT_DAYS = number("AUDIT_DAYS", 365)
# Whether apps may sign in with an e-mail address and a password (POST /api/auth/login) for a token.
API_PASSWORD_LOGIN = env.bool("API_PASSWORD_LOGIN", default=True)
# How long a deleted alias can be restored, in days.
ALIAS_RESTORE_DAYS = number("ALIAS_RESTORE_DAYS", 30)

# --- Django ------------------------------------------------------------------------------------

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
    "aliases",
    "tokens",
    "mail",
    "transfer",
]

MIDDLEWARE = [
    "core.client_address.TrustedProxyMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "api.middleware.ApiEdgeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "core.middleware.PrivatePagesMiddleware",
    "core.middleware.HtmxSignInMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
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

ROOT_URLCONF = "anonmail_site.urls"
WSGI_APPLICATION = "anonmail_site.wsgi.application"

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
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

# --- Database ----------------------------------------------------------------------------------

DATABASES: dict[str, dict[str, Any]] = {
    "default": url(env.db_url, "DATABASE_URL", f"sqlite:///{VAR_DIR / 'anonmail.sqlite3'}", "ENGINE"),
}
_database = DATABASES["default"]
_options = _database.setdefault("OPTIONS", {})
DATABASE_POOL_SIZE = number("DATABASE_POOL_SIZE", 8)
if _database["ENGINE"] == "django.db.backends.postgresql":
    _database["ENGINE"] = "core.db.postgresql"
    # timeout: seconds that a request waits for a connection before it answers 503.
    _options.setdefault("pool", {"min_size": 1, "max_size": DATABASE_POOL_SIZE, "timeout": 5})
    # The server keeps the plans of the statements that recur. Off for a pooler in transaction mode.
    if env.bool("DATABASE_PREPARE", default=True):
        _options.setdefault("server_side_binding", True)
        _options.setdefault("prepare_threshold", 5)
    # seconds until an unreachable server counts as away, instead of the system's two minutes
    _options.setdefault("connect_timeout", 3)
    # milliseconds until a server that acknowledges nothing any more counts as away too (libpq)
    _options.setdefault("tcp_user_timeout", 10_000)
elif _database["ENGINE"] == "django.db.backends.sqlite3":
    # Each thread keeps its connection: opening the file and the PRAGMAs cost more than the statements.
    _database.setdefault("CONN_MAX_AGE", None)
    # WAL: readers and a writer at once. FULL: an acknowledged commit survives a power cut.
    # IMMEDIATE: a transaction that will write waits for the lock at its start, where waiting works.
    _options.setdefault("transaction_mode", "IMMEDIATE")
    _options.setdefault("timeout", 20)
    _options.setdefault("init_command", "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# The sign-in pages' rate limits count here, so that all processes share them.
CACHES = {
    "default": {
        "BACKEND": "core.cache.SharedCache",
        "LOCATION": "core_cache",
        # Django's default of 300 would let anybody flush the limits out with noise.
        "OPTIONS": {"MAX_ENTRIES": 1_000_000},
    },
}

# --- People ------------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["accounts.backends.PrimaryAddressBackend"]
# The web server's threads, for each process.
WEB_THREADS = number("WEB_THREADS", 16)
# So many passwords are checked at the same moment, in each process: each takes 100 MiB.
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

ACCOUNT_ADAPTER = "accounts.adapter.AccountAdapter"
ACCOUNT_FORMS = {
    "add_email": "accounts.forms.AddEmailForm",
    "change_password": "accounts.forms.ChangePasswordForm",
    "login": "accounts.forms.LoginForm",
    "reset_password": "accounts.forms.ResetPasswordForm",
    "reset_password_from_key": "accounts.forms.ResetPasswordKeyForm",
    "set_password": "accounts.forms.SetPasswordForm",
    "signup": "accounts.forms.SignupForm",
    "user_token": "accounts.forms.UserTokenForm",
}
# In addition to the package's. Wrong passwords are counted by accounts.tries, and mails to one address by
# accounts.strangers: counted for an account alone, a stranger could use up the owner's.
ACCOUNT_RATE_LIMITS = {
    "change_password": "5/m/user,20/h/user",
    "login_failed": "10/m/ip,5/5m/key",  # second factors, which only somebody with the password gets to try
    "reset_password": "10/m/ip,60/h/ip",
    "signup": "10/m/ip,60/h/ip",
}
# Who has no account hears nothing from us.
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_UNIQUE_EMAIL = True
ACCOUNT_MAX_EMAIL_ADDRESSES = 20
# Whoever followed the mailed link and chose a password is in (the second factor is still asked for).
ACCOUNT_LOGIN_ON_PASSWORD_RESET = True
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
# A new password, primary address or second factor is told by mail: it may not have been the owner.
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_REAUTHENTICATION_REQUIRED = True
# Seconds for which a sign-in counts as recent.
ACCOUNT_REAUTHENTICATION_TIMEOUT = 300
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if HTTPS else "http"
ACCOUNT_EMAIL_SUBJECT_PREFIX = "[Anonmail] "
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
# Nobody gets in before the first address is verified; a further, unverified destination must not
# stand in the way of a second factor, nor the other way round.
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_TOTP_ISSUER = "Anonmail"
# Browsers offer passkeys on https and on localhost only.
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = _site.hostname == "localhost"

# --- The API -----------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["tokens.authentication.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["tokens.permissions.HoldsScope"],
    "DEFAULT_PARSER_CLASSES": ["api.parsers.LenientJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "api.parsers.AlwaysJSON",
    "EXCEPTION_HANDLER": "api.errors.answer_error",
    "UNAUTHENTICATED_USER": None,
    "URL_FORMAT_OVERRIDE": None,
    "DEFAULT_SCHEMA_CLASS": "api.schema.ApiSchema",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Anonmail's API",
    "DESCRIPTION": (
        "Aliases for password managers and scripts, in SimpleLogin's and addy.io's language.\n\n"
        "To try a call: make a token on the page [Tokens](/tokens/), press “Authorize”, enter it as "
        "`<e-mail>:<token>`; then open a call and press “Try it out”. What is made here is real."
    ),
    "VERSION": "1",
    "SERVERS": [{"url": SITE_URL}],
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "PREPROCESSING_HOOKS": ["api.schema.plain_paths"],
    # The page's assets come from the package: no other server is asked.
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "ENFORCE_NON_BLANK_FIELDS": False,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
}
# Bytes; a larger request body under /api/ is answered 413.
API_MAX_BODY_BYTES = 256 * 1024
# The same for pages, but for the one that takes files (anonmail_site.bodies).
PAGE_MAX_BODY_BYTES = 1024 * 1024

# Any page may call the API: it takes tokens only, never a cookie.
CORS_ALLOW_ALL_ORIGINS = True
CORS_URLS_REGEX = r"^/+api(/|$)"
CORS_ALLOW_METHODS = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]
CORS_ALLOW_HEADERS = [
    "accept",
    "accept-language",
    "authentication",
    "authorization",
    "content-type",
    "x-requested-from",
    "x-requested-with",
    "x-sl-allowcookies",
]
CORS_EXPOSE_HEADERS = ["Retry-After"]
CORS_PREFLIGHT_MAX_AGE = 86400
# A web vault on the internet may call a server on the reader's own network.
CORS_ALLOW_PRIVATE_NETWORK = True

# --- Browsers ----------------------------------------------------------------------------------

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = HTTPS
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = 14 * 24 * 3600
SECURE_HSTS_SECONDS = number("HSTS_SECONDS", 365 * 24 * 3600 if HTTPS else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = env.bool("HSTS_INCLUDE_SUBDOMAINS", default=False)
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=HTTPS)
# A redirect breaks every API client: a POST would become a GET.
SECURE_REDIRECT_EXEMPT = [r"^/*api(/|$)"]
SECURE_REFERRER_POLICY = "same-origin"
# Only a trusted proxy's header survives TrustedProxyMiddleware.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
X_FRAME_OPTIONS = "DENY"
SILENCED_SYSTEM_CHECKS = [
    # HSTS for subdomains and the preload list bind hosts that are not ours to speak for: opt in
    # with HSTS_INCLUDE_SUBDOMAINS.
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
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = VAR_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

# --- Language and time -------------------------------------------------------------------------

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("de", _("German"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = True
TIME_ZONE = env.str("TIME_ZONE", default="UTC")
USE_TZ = True

# --- Mail of the site itself (links for passwords and verification) ----------------------------

# Without EMAIL_URL such mail is written to files below var/outbox.
OUTBOX = VAR_DIR / "outbox"
vars().update(url(env.email_url, "EMAIL_URL", f"filemail:///{OUTBOX}", "EMAIL_BACKEND"))
# Seconds until a mail server that says nothing counts as away: threads wait for it.
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.str(
    "DEFAULT_FROM_EMAIL", default=f"Anonmail <noreply@{_site.hostname or 'localhost'}>"
)
DEFAULT_FROM_ADDRESS = parseaddr(DEFAULT_FROM_EMAIL)[1]

# --- Mail for aliases ---------------------------------------------------------------------------

# What we call ourselves in SMTP and in trace fields.
MAIL_HOSTNAME = env.str("MAIL_HOSTNAME", default=_site.hostname or "localhost")
# The doors: an address and a port, or unix:/path; empty shuts one. SMTP for the embedded default and
# small sites; LMTP, policy and socket map for a Postfix in front.
MAIL_LISTEN = env.str("MAIL_LISTEN", default="127.0.0.1:2525")
_sockets = VAR_DIR.resolve() / "sockets"
# A UNIX socket's path has at most 107 octets (unix(7)): below a deeper VAR_DIR, these are shut by default.
_unix = f"unix:{_sockets}/" if len(str(_sockets).encode()) < 97 else ""
MAIL_LMTP_LISTEN = env.str("MAIL_LMTP_LISTEN", default=_unix and _unix + "lmtp")
MAIL_POLICY_LISTEN = env.str("MAIL_POLICY_LISTEN", default=_unix and _unix + "policy")
MAIL_SOCKETMAP_LISTEN = env.str("MAIL_SOCKETMAP_LISTEN", default=_unix and _unix + "socketmap")
# Who may connect to a UNIX socket: its owner and group.
MAIL_SOCKET_MODE = 0o660
# maildir:///path, smtp://host:port, smtps://… or smtp+starttls://user:password@host:port
MAIL_NEXT_HOP = env.str("MAIL_NEXT_HOP", default=f"maildir://{VAR_DIR / 'mail'}")
# A PEM file of the certificates that vouch for the next hop's; without it, the system's authorities do.
MAIL_NEXT_HOP_CA = env.str("MAIL_NEXT_HOP_CA", default="")
# Where postmaster@ and abuse@ of our domains go. Empty: they are refused.
MAIL_POSTMASTER = env.str("MAIL_POSTMASTER", default="")
MAIL_SIZE_LIMIT = number("MAIL_SIZE_LIMIT", 25 * 1024 * 1024)  # octets
MAIL_THREADS = number("MAIL_THREADS", 8)
# Octets of all messages that one door of one process takes at the same moment; more are told to wait.
MAIL_MEMORY = number("MAIL_MEMORY", 256 * 1024 * 1024)
MAIL_PROCESSES = number("MAIL_PROCESSES", 1)
# Networks (CIDR; `unix` for UNIX sockets) of mail servers of yours in front, which bring everybody's mail:
# what is limited for each client, an IPv4 address or an IPv6 /64, is not limited for them.
MAIL_TRUSTED_CLIENTS = env.list("MAIL_TRUSTED_CLIENTS", default=["127.0.0.0/8", "::1/128", "unix"])
# Connections at once, for each door and process, and for one client.
MAIL_CONNECTIONS = number("MAIL_CONNECTIONS", 200)
MAIL_CONNECTIONS_PER_CLIENT = number("MAIL_CONNECTIONS_PER_CLIENT", 20)
# A message that comes in at less than so many octets a second is ended once it is so many seconds behind.
MAIL_LEAST_RATE = number("MAIL_LEAST_RATE", 1000)
MAIL_PATIENCE = number("MAIL_PATIENCE", 60)
# Unknown recipients that one client may name within ten minutes, before it is told to come later, at the SMTP
# door and by the policy service together; and within a day, before it may name five in ten minutes. 0: any.
MAIL_UNKNOWN_PER_CLIENT = number("MAIL_UNKNOWN_PER_CLIENT", 50)
MAIL_UNKNOWN_PER_DAY = number("MAIL_UNKNOWN_PER_DAY", 500)
MAIL_TLS_CERTIFICATE = env.str("MAIL_TLS_CERTIFICATE", default="")
MAIL_TLS_KEY = env.str("MAIL_TLS_KEY", default="")
# Days for which activity (when, what, who wrote) is kept.
ACTIVITY_DAYS = number("ACTIVITY_DAYS", 30)

# --- Logs: ids and codes, never addresses, tokens, query strings or bodies ---------------------

LOGGING = logging_config(env.str("LOG_LEVEL", default="INFO"))
