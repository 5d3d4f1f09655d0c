import contextlib
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from core.listening import given_sockets
from core.supervised import end_with_supervisor
from mail.delivery.next_hop import configured_next_hop
from mail.server.listening import open_doors
from mail.server.processes import Processes, serve, shares_of
from mail.server.tls import configured_certificate


class Command(BaseCommand):
    help = (
        "Take mail for aliases (SMTP, LMTP) and from their owners (submission), and answer Postfix's "
        "questions (policy, socket map)."
    )
    # The site's own, which need no pages: those would stay in this process's memory.
    requires_system_checks = ("anonmail",)

    def handle(self, *args: Any, **options: Any) -> None:
        end_with_supervisor()
        with contextlib.ExitStack() as stack:
            try:
                configured_next_hop()
                configured_certificate()
                listeners = open_doors(given_sockets())
                for listener in listeners.values():
                    stack.enter_context(listener)
            except (OSError, ValueError) as error:
                raise CommandError(f"The mail server cannot start: {error}") from error
            if not listeners:
                raise CommandError("The mail server listens nowhere: set MAIL_LISTEN or another address.")
            shares = shares_of(listeners)
            if len(shares) > 1:
                Processes(shares).run()
            else:
                serve(listeners)
