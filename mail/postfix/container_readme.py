"""The README beside the tables of a mail server in containers: what comes next, and how to undo it."""

import shlex
import textwrap
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from mail.postfix.parameters import CLEANUP, Configuration

_TEXT = """\
Anonmail beside {title}
{underline}

Written by `manage.py postfix_config`. Run it again when Anonmail's settings or domains change, and after each
update of {title}. docs/recipes/{name}.md explains the rest.

1. Anonmail's settings (.env). Restart Anonmail if you change one.

       MAIL_POSTFIX_DIRECTORY={shared}
       MAIL_NEXT_HOP={next_hop}
       MAIL_SIZE_LIMIT={size} (at least)

2. As root:

{restart}
3. Check, as root; this names what is missing:

       manage.py postfix_config {arguments} --check

To undo it, as root:

{undo}
{notes}"""


@dataclass(frozen=True)
class Steps:
    """Commands for one server, in the directory of its compose file."""

    title: str
    restart: tuple[str, ...]
    undo: tuple[str, ...]


_OURS_OUT = "sed -i '/^# Anonmail begins/,/^# Anonmail ends/d'"
# A file that is Anonmail's alone was not there before.
_EMPTY_OUT = "-size 0 -delete"
STEPS = {
    "mailcow": Steps(
        "mailcow",
        ("docker compose restart postfix-mailcow",),
        (
            f"{_OURS_OUT} data/conf/postfix/extra.cf",
            "rm data/hooks/postfix/anonmail.sh",
            "docker compose exec postfix-mailcow postconf -MX {services}",
            "docker compose exec postfix-mailcow postconf -F smtp_sender_cleanup/unix/chroot=y",
            "docker compose restart postfix-mailcow",
        ),
    ),
    "docker-mailserver": Steps(
        "docker-mailserver",
        ("docker compose up -d --force-recreate mailserver",),
        (
            f"{_OURS_OUT} docker-data/dms/config/user-patches.sh",
            f"find docker-data/dms/config/user-patches.sh {_EMPTY_OUT}",
            "docker compose up -d --force-recreate mailserver",
        ),
    ),
    "mailu": Steps(
        "Mailu",
        ("docker compose up -d --force-recreate smtp",),
        (
            f"{_OURS_OUT} overrides/postfix/postfix.cf overrides/postfix/postfix.master",
            f"find overrides/postfix/postfix.cf overrides/postfix/postfix.master {_EMPTY_OUT}",
            "docker compose up -d --force-recreate smtp",
        ),
    ),
}


def text(
    server: str,
    configuration: Configuration,
    places: tuple[Path, Path, Path],
    message_size: str,
    arguments: str,
) -> str:
    """The README for a server.

    `places`: the directories of its compose file, our sockets and our tables; `message_size`: its
    message_size_limit.
    """
    steps = STEPS[server]
    directory, shared, tables = (shlex.quote(str(place)) for place in places)
    place = configuration.reinjection
    services = f"{place.listen}/inet" + ("" if configuration.keeps_senders else f" {CLEANUP}/unix")

    def commands(lines: tuple[str, ...]) -> str:
        return "".join(f"       {line.format(services=services)}\n" for line in (f"cd {directory}", *lines))

    return _TEXT.format(
        title=steps.title,
        underline="=" * (16 + len(steps.title)),
        name=server,
        shared=places[1],
        next_hop=place.next_hop,
        size=max(int(message_size), settings.MAIL_SIZE_LIMIT),
        restart=commands(steps.restart),
        arguments=arguments,
        undo=commands((*steps.undo, f"rm -r {shared} {tables}")),
        notes="\n".join(textwrap.fill(f"Note: {each}", 98) + "\n" for each in configuration.problems),
    )
