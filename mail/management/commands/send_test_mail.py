from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from mail.management.sending import connected, newest_alias, short_message


class Command(BaseCommand):
    help = "Send a short mail to an alias, through the mail server at MAIL_LISTEN."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("alias", nargs="?", help="(default: the newest alias)")
        parser.add_argument("--sender", default="sender@sender.example")

    def handle(self, *args: Any, **options: Any) -> str:
        alias = options["alias"] or newest_alias().address
        text = "Hello, this mail was sent to an alias.\n"
        with connected(settings.MAIL_LISTEN) as server:
            server.send_message(short_message(options["sender"], alias, text))
        return f"Accepted for {alias}."
