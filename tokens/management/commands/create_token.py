from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from accounts.commands import find_user
from core.commands import RuleCommand
from tokens.models import Token
from tokens.scopes import EVERYTHING, scopes_of

# A hundred years.
DAYS_MAX = 36_500


class Command(RuleCommand):
    help = "Make an API token for a user and print it, once, as <e-mail>:<token>."
    audited = ("email", "name")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("name", help="what the token is for")
        parser.add_argument(
            "--scopes",
            default="create",
            metavar="WORDS",
            help=f"what it may do, separated by commas: {', '.join(EVERYTHING.words)} (default: create)",
        )
        parser.add_argument("--days", type=int, help="days until it expires")
        parser.add_argument(
            "--network",
            action="append",
            default=[],
            metavar="CIDR",
            help="it works from here only; repeatable",
        )

    def act(self, **options: Any) -> str:
        user, days = find_user(options["email"]), options["days"]
        if days is not None and not 1 <= days <= DAYS_MAX:
            raise CommandError(
                f"--days is a number from 1 to {DAYS_MAX}; without it the token does not expire."
            )
        expires = timezone.now() + timedelta(days=days) if days else None
        _token, secret = Token.objects.issue(
            owner=user,
            name=options["name"],
            scopes=scopes_of(word.strip() for word in options["scopes"].split(",")),
            expires=expires,
            networks=options["network"],
        )
        return f"{user.email}:{secret}"
