from typing import Any

from django.core.management.base import CommandParser

from accounts.commands import find_user
from core.commands import RuleCommand
from domains.commands import find_domain


class Command(RuleCommand):
    help = "Let a user create aliases on a domain."
    audited = ("domain", "email", "by")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("domain")
        parser.add_argument("email")
        parser.add_argument("--by", metavar="EMAIL", help="who grants it, for the record")

    def act(self, **options: Any) -> str:
        domain, user = find_domain(options["domain"]), find_user(options["email"])
        domain.grant(user, granted_by=find_user(options["by"]) if options["by"] else None)
        return f"{user.email} may create aliases on {domain.display_name}."
