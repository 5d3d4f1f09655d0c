from datetime import timedelta
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from accounts.commands import find_user
from core.commands import RuleCommand
from tokens.models import Token


class Command(RuleCommand):
    help = "Make an API token for a user and print it, once, as <e-mail>:<token>."
    audited = ("email", "name")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("name", help="what the token is for")
        parser.add_argument("--days", type=int, help="days until it expires")
        parser.add_argument(
            "--network",
            action="append",
            default=[],
            metavar="CIDR",
            help="it works from here only; repeatable",
        )

    def act(self, **options: Any) -> str:
        user = find_user(options["email"])
        expires = timezone.now() + timedelta(days=options["days"]) if options["days"] else None
        _token, secret = Token.objects.issue(
            owner=user, name=options["name"], expires=expires, networks=options["network"]
        )
        return f"{user.email}:{secret}"
