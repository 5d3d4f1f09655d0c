import asyncio
import signal
import ssl
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from mail.listen import listen_address
from mail.next_hop import next_hop_from
from mail.smtp_door import Handler, Pool, SmtpDoor


class Command(BaseCommand):
    help = "Take mail for aliases over SMTP at MAIL_LISTEN and forward it to MAIL_NEXT_HOP."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            next_hop = next_hop_from(settings.MAIL_NEXT_HOP, settings.MAIL_HOSTNAME)
            host, port = listen_address(settings.MAIL_LISTEN)
            tls = None
            if settings.MAIL_TLS_CERTIFICATE:
                tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
                tls.load_cert_chain(settings.MAIL_TLS_CERTIFICATE, settings.MAIL_TLS_KEY or None)
            door = SmtpDoor(
                Handler(Pool(settings.MAIL_THREADS), next_hop, settings.MAIL_POSTMASTER),
                hostname=settings.MAIL_HOSTNAME,
                size_limit=settings.MAIL_SIZE_LIMIT,
                tls=tls,
                connections=settings.MAIL_CONNECTIONS,
            )
            asyncio.run(serve(door, host, port))
        except (OSError, ValueError) as error:
            raise CommandError(f"The mail server cannot start: {error}") from error


async def serve(door: SmtpDoor, host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await door.start(host, port)
    await stop.wait()
    await door.stop()
