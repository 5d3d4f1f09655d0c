"""What the commands about users share."""

import sys
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.management.base import CommandError, CommandParser

from accounts.local_passwords import takes_passwords
from accounts.models import User
from accounts.password_links import password_link, send_password_link
from core.commands import RuleCommand


def find_user(email: str) -> User:
    """The user with this address. Raises CommandError."""
    if (user := User.objects.by_email(email)) is None:
        raise CommandError(f"There is no user {email}.")
    return user


class CreateUserCommand(RuleCommand):
    """Creates a user; a subclass decides if it is a global admin."""

    is_superuser = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", help="the address to sign in with; it counts as verified")
        parser.add_argument("--name", default="", help="the person's name")
        how = parser.add_mutually_exclusive_group()
        how.add_argument(
            "--password-stdin", action="store_true", help="read the password from standard input"
        )
        how.add_argument(
            "--send-link",
            action="store_true",
            help="mail the link for choosing a password instead of printing it",
        )

    def act(self, **options: Any) -> str:
        password = None
        if options["password_stdin"]:
            password = sys.stdin.readline().rstrip("\r\n")
            validate_password(password)
        user = User.objects.create_user(
            options["email"], password, name=options["name"], is_superuser=self.is_superuser
        )
        created = f"Created the {'global admin' if user.is_superuser else 'user'} {user.email}."
        if password is not None:
            return created
        if not takes_passwords():
            return f"{created} They sign in at a provider or through the proxy (LOCAL_PASSWORDS is off)."
        if options["send_link"]:
            send_password_link(user)
            return f"{created} The link for choosing a password is in the mail."
        return f"{created} This link lets them choose a password, once:\n{password_link(user)}"
