from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.commands import find_user
from core.commands import RuleCommand
from domains.commands import find_domain


class Command(RuleCommand):
    help = "Revoke a user's grant on a domain. Existing aliases still receive mail."
    audited = ("domain", "email")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("domain")
        parser.add_argument("email")

    def act(self, **options: Any) -> str:
        domain, user = find_domain(options["domain"]), find_user(options["email"])
        if not domain.revoke(user):
            raise CommandError(f"{user.email} holds no grant on {domain.display_name}.")
        return f"{user.email} no longer has a grant on {domain.display_name}."
