from typing import Any

from django.core.management.base import CommandParser

from core.commands import RuleCommand
from domains.commands import find_domain


class Command(RuleCommand):
    help = "Turn a domain's Anonymous Email Service on or off. Existing aliases still receive mail."
    audited = ("domain", "state")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("domain")
        parser.add_argument("state", choices=["on", "off"])

    def act(self, **options: Any) -> str:
        domain = find_domain(options["domain"])
        domain.set_anonmail(options["state"] == "on")
        return f"Anonmail is {options['state']} on {domain.display_name}."
