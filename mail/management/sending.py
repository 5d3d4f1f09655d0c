"""What the commands that send a mail through this installation's own mail server share."""

import smtplib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

from django.core.management.base import CommandError

from aliases.models import Alias
from core.listening import connect, endpoint


def newest_alias() -> Alias:
    """The alias that was created last. Raises CommandError if there is none."""
    alias = Alias.objects.present().order_by("pk").last()
    if alias is None:
        raise CommandError("There is no alias yet. Create one, or name one.")
    return alias


def short_message(sender: str, recipient: str, text: str) -> EmailMessage:
    """A message with the fields that every one has."""
    message = EmailMessage()
    message["From"] = sender
    message["To"] = recipient
    message["Subject"] = "A test of Anonmail"
    message["Date"] = formatdate(localtime=True)
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2])
    message.set_content(text)
    return message


class Client(smtplib.SMTP):
    """smtplib's client, for a listener that may be a UNIX socket."""

    def __init__(self, place: str) -> None:
        self.place = place
        super().__init__("mailserver", timeout=60)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return connect(endpoint(self.place), timeout)


@contextmanager
def connected(place: str) -> Iterator[Client]:
    """A client of the mail server that listens there. Raises CommandError, with what the server said, if
    that refuses something in the block."""
    try:
        with Client(place) as server:
            yield server
    except smtplib.SMTPRecipientsRefused as error:
        code, answer = next(iter(error.recipients.values()))
        raise CommandError(f"Refused: {code} {_text(answer)}") from error
    except smtplib.SMTPResponseException as error:
        raise CommandError(f"Refused: {error.smtp_code} {_text(error.smtp_error)}") from error
    except (OSError, ValueError) as error:
        raise CommandError(f"No mail server answers at {place}.") from error


def _text(said: bytes | str) -> str:
    return said.decode(errors="replace") if isinstance(said, bytes) else said
