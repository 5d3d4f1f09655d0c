import os
import socket
import sys
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from anonmail_site.supervisor import Supervisor
from mail.server.listening import DOORS, endpoints


class Command(BaseCommand):
    help = "Set everything up (see `prepare`) and serve it in this terminal. Ctrl-C stops it."
    # `prepare` runs the checks once there is a secret key.
    requires_system_checks: list[str] = []  # noqa: RUF012

    def handle(self, *args: Any, **options: Any) -> None:
        host, port = os.environ.get("HOST", "127.0.0.1"), settings.PORT
        refuse_taken_port(host, port)
        try:
            doors = endpoints()
        except ValueError as error:
            raise CommandError(str(error)) from error
        for name, place in doors.items():
            if place.path is None:
                refuse_taken_port(
                    place.host, place.port, f"{DOORS[name]}={place.host}:{place.port + 1} make run"
                )
        call_command("prepare", stdout=self.stdout, stderr=self.stderr)
        does = [f"serves {settings.SITE_URL}/"]
        if "smtp" in doors:
            does.append(f"receives mail at {doors['smtp']}")
        if "submission" in doors:
            does.append(f"sends mail from aliases at {doors['submission']}")
        self.stdout.write(f"Anonmail {', '.join(does)} (Ctrl-C stops it).")
        self.stdout.flush()
        gunicorn = [sys.executable, "-m", "gunicorn", "-c", "python:anonmail_site.gunicorn_conf"]
        web = [*gunicorn, "anonmail_site.wsgi"]
        mail = [sys.executable, sys.argv[0], "mailserver"]
        chores = [sys.executable, sys.argv[0], "housekeeping", "--forever"]
        ended = Supervisor({"web": web, "mail": mail, "housekeeping": chores}).run()
        if ended is not None:
            raise CommandError(f"The {ended} process ended unexpectedly, so everything was stopped.")
        self.stdout.write("Stopped.")


def refuse_taken_port(host: str, port: int, instead: str = "") -> None:
    """Raise CommandError, with what to do, if the address cannot be used."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            instead = instead or f"make run PORT={port + 1}"
            raise CommandError(
                f"Port {port} of {host} is taken or not allowed. Choose another one: {instead}"
            ) from error
