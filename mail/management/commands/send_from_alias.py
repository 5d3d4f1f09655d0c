from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from aliases.models import Alias
from mail.management.sending import connected, newest_alias, short_message
from tokens.models import Token
from tokens.scopes import Scope

LIFETIME = timedelta(minutes=5)


class Command(BaseCommand):
    help = (
        "Send a short mail from an alias, through the mail server at MAIL_SUBMISSION_LISTEN, as its owner's "
        "mail program does: with a token, which is revoked afterwards."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("recipient")
        parser.add_argument("--alias", help="(default: the newest alias)")

    def handle(self, *args: Any, **options: Any) -> str:
        alias = named_alias(options["alias"]) if options["alias"] else newest_alias()
        if alias.owner is None:
            raise CommandError("This alias has no owner any more.")
        token, secret = Token.objects.issue(
            owner=alias.owner,
            name="send_from_alias",
            scopes=Scope.SEND,
            expires=timezone.now() + LIFETIME,
        )
        text = "Hello, this mail was sent from an alias.\n"
        try:
            with connected(settings.MAIL_SUBMISSION_LISTEN) as server:
                server.login(alias.owner.email, secret)
                server.send_message(short_message(alias.address, options["recipient"], text))
        finally:
            token.revoke()
        return f"Sent from {alias.address}."


def named_alias(address: str) -> Alias:
    """The alias with this address. Raises CommandError if there is none."""
    alias = Alias.objects.present().holding(address).first()
    if alias is None:
        raise CommandError(f"There is no alias {address}.")
    return alias
