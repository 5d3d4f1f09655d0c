import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

import anonmail_site
from anonmail_site.environment import LOG_FORMAT, WEB_DRAIN_SECONDS, WEB_PLACE
from anonmail_site.first_steps import refuse_root
from anonmail_site.supervisor import PARTS
from core.listening import given_sockets, listening_socket
from mail.server.listening import DOORS, endpoints, open_doors

# Sockets with their names.
Named = list[tuple[str, socket.socket]]


class Command(BaseCommand):
    help = (
        "Serve in this terminal: the web server, the mail server and the worker (web hooks and daily tasks), "
        "or those that are named. A process that ends is started again. SIGHUP reloads the code and the "
        "settings; SIGTERM and Ctrl-C stop everything."
    )
    # The site's own, which need no pages.
    requires_system_checks = ("anonmail",)
    # Prepare everything once the sockets are open.
    stealth_options = ("prepare",)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all)")

    def handle(self, *args: Any, **options: Any) -> None:
        parts = options["parts"] or list(PARTS)
        if unknown := sorted(set(parts) - set(PARTS)):
            raise CommandError(f"There is no part {unknown[0]}. The parts are {', '.join(PARTS)}.")
        refuse_root()
        given = given_sockets()
        sockets = {part: open_sockets(part, given) for part in parts}
        if options.get("prepare"):
            call_command("prepare", stdout=self.stdout, stderr=self.stderr)
        self.stdout.write(f"Anonmail {', '.join(deeds(parts))} (Ctrl-C stops it).")
        self.stdout.flush()
        become_supervisor(sockets)


def open_sockets(part: str, given: Named) -> Named:
    """The sockets at which the part listens: those that this process was given, or new ones.

    Raises CommandError, with what to do.
    """
    try:
        if part == "mail":
            return list(open_doors(given).items())
        if part == "web":
            return [each for each in given if each[0] not in DOORS] or [("web", listening_socket(WEB_PLACE))]
    except (OSError, ValueError) as error:
        if part == "mail" or WEB_PLACE.path:
            raise CommandError(f"The {part} server cannot start: {error}") from error
        raise CommandError(
            f"Port {WEB_PLACE.port} of {WEB_PLACE.host} is taken or not allowed. "
            f"Choose another one: make run PORT={WEB_PLACE.port + 1}"
        ) from error
    return []


def deeds(parts: Sequence[str]) -> list[str]:
    """What these parts do, for people."""
    doors = endpoints() if "mail" in parts else {}
    found = {
        f"serves {settings.SITE_URL}/": "web" in parts,
        f"receives mail at {doors.get('smtp')}": "smtp" in doors,
        f"sends mail from aliases at {doors.get('submission')}": "submission" in doors,
        "sends web hooks and runs the daily tasks": "worker" in parts,
    }
    return [deed for deed, is_done in found.items() if is_done]


def become_supervisor(sockets: Mapping[str, Named]) -> None:
    """Replace this process, which has all of Django in memory, by the supervisor."""
    descriptors: dict[str, list[tuple[str, int]]] = {}
    for part, named in sockets.items():
        for _name, listener in named:
            listener.set_inheritable(True)
        descriptors[part] = [(name, listener.fileno()) for name, listener in named]
    # For this process and those that it starts, wherever they were started.
    places = [str(Path(anonmail_site.__path__[0]).parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, places))
    arguments = [json.dumps(descriptors), LOG_FORMAT, str(WEB_DRAIN_SECONDS)]
    command = [sys.executable, "-m", "anonmail_site.supervisor", *arguments]
    os.execv(sys.executable, command)  # noqa: S606 - our own command line
