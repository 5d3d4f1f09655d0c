from typing import Any

from django.core.management.base import CommandParser
from django.db import transaction

from accounts.commands import find_user
from core.commands import RuleCommand
from domains.models import Audience, Domain


class Command(RuleCommand):
    help = "Create a domain."
    audited = ("name", "manager")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="such as example.com or bücher.example")
        parser.add_argument("--anonmail", action="store_true", help="turn the Anonymous Email Service on")
        parser.add_argument("--everyone", action="store_true", help="every user may create aliases here")
        parser.add_argument(
            "--shared", action="store_true", help="the domain also has ordinary mailboxes of its own"
        )
        parser.add_argument("--quota", type=int, help="how many aliases one user may have here")
        parser.add_argument("--manager", action="append", default=[], metavar="EMAIL", help="repeatable")
        parser.add_argument("--comment", default="")

    @transaction.atomic
    def act(self, **options: Any) -> str:
        domain = Domain(
            name=options["name"],
            anonmail_enabled=options["anonmail"],
            audience=Audience.EVERYONE if options["everyone"] else Audience.OWN,
            is_shared=options["shared"],
            alias_quota=options["quota"],
            comment=options["comment"],
        )
        domain.full_clean()
        domain.save()
        domain.managers.set([find_user(email) for email in options["manager"]])
        state = "on" if domain.anonmail_enabled else "off"
        return f"Created the domain {domain.display_name}, Anonmail is {state}."
