"""What a new installation needs: private files, a secret key and a first account."""

import os
import secrets
import string
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.core.management.base import CommandError
from django.core.management.utils import get_random_secret_key
from django.db import transaction

from accounts.models import User
from core.disk import owner_of, user_name, write_new, write_over
from domains.models import Domain
from tokens.models import Token

ADMIN_ADDRESS = "admin@example.com"
DOMAIN = "example.com"
_ALPHABET = string.ascii_letters + string.digits


def make_private(path: Path) -> None:
    """Restrict access to the directory, if it exists, and everything in it to the owner."""
    for directory, _names, files in os.walk(path):
        os.chmod(directory, 0o700)
        for name in files:
            os.chmod(Path(directory, name), 0o600)


def make_secret_key(path: Path) -> None:
    """Write a new secret key that only its owner can read. Raises OSError, also if there is one."""
    write_new(path, _new_secret_key())


def replace_secret_key(path: Path) -> None:
    """Put a new secret key on top of those in the file, which become earlier ones. Raises OSError."""
    write_over(path, _new_secret_key() + path.read_text())


def _new_secret_key() -> str:
    return get_random_secret_key() + get_random_secret_key() + "\n"


def trouble_as_root() -> str:
    """Why root should not create files here, or "": they would lock out the user whose installation it is."""
    if os.geteuid() != 0:
        return ""
    place, owner = owner_of(settings.VAR_DIR)
    if owner == user_name():
        return ""
    return (
        f"{place} belongs to {owner}, who could not use what root creates there. "
        f"Run this as {owner}, for example with sudo -u {owner}."
    )


def refuse_root() -> None:
    """Raises CommandError if this is root, but the installation is another user's."""
    if trouble := trouble_as_root():
        raise CommandError(trouble)


@dataclass(frozen=True)
class FirstAccount:
    """The first admin's credentials, which are shown once and not stored."""

    email: str
    password: str
    secret: str

    def __str__(self) -> str:
        site = settings.SITE_URL
        return f"""
  Sign in at       {site}/
  Django admin     {site}/admin/
  E-mail address   {self.email}
  Password         {self.password}      (shown only once)

  Create an alias:

  curl -X POST '{site}/api/alias/random/new?hostname=www.github.com' \\
    -H 'Authentication: {self.email}:{self.secret}'
"""


@transaction.atomic
def make_first_account() -> FirstAccount | None:
    """A new global admin with a token, and example.com with Anonmail on. None if the database has data."""
    if User.objects.exists() or Domain.objects.exists():
        return None
    password = "".join(secrets.choice(_ALPHABET) for _ in range(20))
    admin = User.objects.create_superuser(ADMIN_ADDRESS, password)
    Domain.objects.create(name=DOMAIN, anonmail_enabled=True, comment="Created at the first start.")
    _token, secret = Token.objects.issue(owner=admin, name="First token")
    return FirstAccount(ADMIN_ADDRESS, password, secret)
