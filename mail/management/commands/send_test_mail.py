import smtplib
import socket
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from aliases.models import Alias
from mail.server.listening import connect, endpoint


class Command(BaseCommand):
    help = "Send a short mail to an alias, through the mail server at MAIL_LISTEN."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("alias", nargs="?", help="(default: the newest alias)")
        parser.add_argument("--sender", default="sender@sender.example")

    def handle(self, *args: Any, **options: Any) -> str:
        alias = options["alias"] or newest_alias()
        message = EmailMessage()
        message["From"] = options["sender"]
        message["To"] = alias
        message["Subject"] = "A test of Anonmail"
        message["Date"] = formatdate(localtime=True)
        message["Message-ID"] = make_msgid(domain="sender.example")
        message.set_content("Hello, this mail was sent to an alias.\n")
        try:
            with _Client("mailserver", timeout=60) as server:
                server.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            code, answer = next(iter(error.recipients.values()))
            raise CommandError(f"Refused: {code} {answer.decode(errors='replace')}") from error
        except smtplib.SMTPResponseException as error:
            said = error.smtp_error
            text = said.decode(errors="replace") if isinstance(said, bytes) else said
            raise CommandError(f"Refused: {error.smtp_code} {text}") from error
        except (OSError, ValueError) as error:
            raise CommandError(f"No mail server answers at {settings.MAIL_LISTEN}.") from error
        return f"Accepted for {alias}."


def newest_alias() -> str:
    """The address of the alias that was created last. Raises CommandError if there is none."""
    alias = Alias.objects.present().order_by("pk").last()
    if alias is None:
        raise CommandError("There is no alias yet. Create one, or name one.")
    return alias.address


class _Client(smtplib.SMTP):
    """smtplib's client, which knows no UNIX sockets by itself."""

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return connect(endpoint(settings.MAIL_LISTEN), timeout)
