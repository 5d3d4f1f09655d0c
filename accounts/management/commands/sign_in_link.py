from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.commands import find_user
from accounts.organisation.emergency import emergency_link
from core.commands import RuleCommand


class Command(RuleCommand):
    help = "Print a link that signs a global admin in, once, within 15 minutes: when the usual ways are down."
    audited = ("email",)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", help="the global admin's address")

    def act(self, **options: Any) -> str:
        user = find_user(options["email"])
        if not (user.is_superuser and user.is_active):
            raise CommandError(f"{user.email} is no active global admin.")
        return f"This link signs {user.email} in, once, within 15 minutes:\n{emergency_link(user)}"
