"""The site's settings with what tests need: no .env, no shared cache, quick hashes, mail in memory."""

import os
import tempfile

os.environ["ENV_FILE"] = ""
os.environ.setdefault("SECRET_KEY", "tests-only-" + "0123456789abcdef" * 4)
os.environ.setdefault("VAR_DIR", os.path.join(tempfile.gettempdir(), "anonmail-tests"))
# Nobody answers there: a test that asks the DNS starts a server of its own (tests/rig/nameserver.py).
os.environ["DNS_RESOLVERS"] = "127.0.0.1:1"
os.makedirs(os.path.join(os.environ["VAR_DIR"], "static"), exist_ok=True)
for name in ("SITE_URL", "ALLOWED_HOSTS", "TRUSTED_PROXIES", "SIGNUP_OPEN", "DEBUG", "EMAIL_URL"):
    os.environ.pop(name, None)
for name in ("OIDC_PROVIDERS", "PROXY_USER_HEADER", "LDAP_URI", "LOCAL_PASSWORDS"):
    os.environ.pop(name, None)

from anonmail_site.settings import *  # noqa: E402, F403
from anonmail_site.settings import DATABASES, STORAGES  # noqa: E402

ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
# Or a code that changes between its making and its use would be refused.
MFA_TOTP_TOLERANCE = 1
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
if DATABASES["default"]["ENGINE"] == "core.db.sqlite":
    # pytest-django gives each of its processes another file, unless it knows the backend.
    DATABASES["default"]["TEST"] = {"NAME": ":memory:"}
if "pool" in DATABASES["default"]["OPTIONS"]:
    # Room for the threads of race tests.
    DATABASES["default"]["OPTIONS"]["pool"] = {"min_size": 1, "max_size": 24, "timeout": 30}
