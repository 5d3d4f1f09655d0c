"""The least that Django needs to insert a row, with the site's own database settings."""

from anonmail_site.settings import DATABASES as DATABASES
from anonmail_site.settings import SECRET_KEY as SECRET_KEY

ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = ["bench.floor"]
MIDDLEWARE: list[str] = []
ROOT_URLCONF = "bench.floor.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
DEBUG_PROPAGATE_EXCEPTIONS = True
