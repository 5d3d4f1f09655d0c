"""Writing a configuration into a directory, and comparing it with the one that Postfix runs."""

import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from allauth.account.models import EmailAddress
from django.conf import settings

from domains.models import Domain
from mail.postfix.lines import PORTS, Configuration, Line
from mail.postfix.running import Running, split_list
from mail.server.listening import DOORS, connect, endpoints

_README = """\
Anonmail with {title}
{underline}

Written by `manage.py postfix_config`. Run it again after a change of Anonmail's settings{tables_too}.
docs/mail.md explains the rest: DNS, ports, TLS, upgrading.

1. Let Anonmail hand back to Postfix what it forwards. In Anonmail's settings (.env):

       MAIL_NEXT_HOP=smtp://{reinjection}

   and start `manage.py mailserver` (or runall) again.

2. Tell Postfix. As root, in this directory:

{commands}
3. Check what runs, and what is missing:

       manage.py postfix_config {variant} --check

{notes}"""

_UNIX_NOTE = """\
{setting} is a UNIX socket: Postfix's user must be able to open it (by the group of its folder),
and services that run chrooted (the fifth column of master.cf) cannot see it unless it lies below
the queue directory. Simpler: {setting}=127.0.0.1:{port}
"""


def main_cf(configuration: Configuration) -> str:
    """The commented lines of main.cf."""
    parts = [f"# Anonmail: main.cf for {configuration.title}.", ""]
    for line in configuration.lines:
        if line.why:
            parts += ["", *textwrap.wrap(line.why, 98, initial_indent="# ", subsequent_indent="# ")]
        parts.append(f"{line.name} = {line.value}".rstrip())
    return "\n".join(parts) + "\n"


def master_cf(configuration: Configuration) -> str:
    """The services of master.cf."""
    why = (
        "# Anonmail: takes back what Anonmail forwards, from this machine alone, and sends it out.\n"
        "# Nothing is checked here again; a destination that refuses is told to Anonmail's bounce address.\n"
    )
    return f"{why}{configuration.services}"


def readme(configuration: Configuration, variant: str, directory: Path) -> str:
    """What to do with the files, as commands."""
    if variant.startswith("fresh"):
        commands = [
            "cp /etc/postfix/main.cf /etc/postfix/main.cf.before-anonmail",
            "cp main.cf /etc/postfix/main.cf",
        ]
    else:
        commands = [
            "grep -v '^#' main.cf | grep . | while IFS= read -r line; do postconf -e \"$line\"; done",
        ]
    commands += [
        # The service of an earlier run would be there twice.
        f"postconf -MX {configuration.reinjection}/inet",
        "cat master.cf >> /etc/postfix/master.cf",
        *_override_commands(configuration),
    ]
    commands += ["postfix check && postfix reload"]
    notes = [
        _UNIX_NOTE.format(setting=name, port=PORTS[name])
        for name in ("MAIL_LMTP_LISTEN", "MAIL_POLICY_LISTEN", "MAIL_SOCKETMAP_LISTEN")
        if getattr(settings, name).startswith("unix:")
    ]
    notes += [textwrap.fill(f"Note: {problem}", 98) + "\n" for problem in configuration.problems]
    return _README.format(
        title=configuration.title,
        underline="=" * (14 + len(configuration.title)),
        tables_too=", and of domains" if configuration.tables else "",
        reinjection=configuration.reinjection,
        commands="".join(f"       {command}\n" for command in commands) + "\n",
        variant=variant,
        notes="\n".join(notes),
    )


def _override_commands(configuration: Configuration) -> list[str]:
    return [f'postconf -P "{name}={value}"' for name, value in configuration.overrides.items()]


def write(configuration: Configuration, variant: str, directory: Path) -> list[Path]:
    """Write everything into the directory, and return the paths. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    contents = {
        "main.cf": main_cf(configuration),
        "master.cf": master_cf(configuration),
        "README": readme(configuration, variant, directory),
        **configuration.tables,
    }
    for name, content in contents.items():
        (directory / name).write_text(content, encoding="utf-8")
    return [directory / name for name in contents]


def missing(configuration: Configuration, running: Running) -> list[str]:
    """What the running Postfix, or Anonmail itself, lacks, a sentence each; nothing where all is there."""
    found = [*configuration.problems, *own_addresses_nowhere()]
    found += [sentence for line in configuration.lines for sentence in _differs(line, configuration, running)]
    service = f"{configuration.reinjection} inet"
    if not any(" ".join(entry.split()).startswith(service) for entry in running.services):
        found.append(
            f"master.cf has no service at {configuration.reinjection}, which sends out what is forwarded."
        )
    for key, value in configuration.overrides.items():
        if running.override(key) != value:
            found.append(f"master.cf: {key} should be {value}.")
    if f"smtp://{configuration.reinjection}" != settings.MAIL_NEXT_HOP:
        found.append(f"MAIL_NEXT_HOP should be smtp://{configuration.reinjection}.")
    limit = int(running["message_size_limit"] or 0)
    if limit == 0 or limit > settings.MAIL_SIZE_LIMIT:
        found.append(
            f"Postfix takes larger messages than MAIL_SIZE_LIMIT ({settings.MAIL_SIZE_LIMIT}) lets through."
        )
    for name, place in endpoints().items():
        try:
            connect(place, 3).close()
        except (TimeoutError, OSError):
            found.append(f"Nothing answers at {DOORS[name]} ({place}): start `manage.py mailserver`.")
    if configuration.directory:
        for name, content in configuration.tables.items():
            path = configuration.directory / name
            if not path.is_file() or path.read_text(encoding="utf-8") != content:
                found.append(f"{path} is not up to date: write it again, and reload Postfix.")
    return found


def own_addresses_nowhere() -> list[str]:
    """A sentence for each domain of ours alone in which users have own addresses: no mail reaches these."""
    addresses = EmailAddress.objects.filter(verified=True).values_list("email", flat=True)
    users = Counter(address.rpartition("@")[2].lower() for address in addresses.iterator())
    alone = Domain.objects.filter(is_shared=False).order_by("name").values_list("name", flat=True)
    return [
        f"{domain} is Anonmail's alone, but {users[domain]} of its users' own addresses are there, and mail"
        " to them goes nowhere: mark the domain as shared with ordinary mailboxes."
        for domain in alone
        if users[domain]
    ]


def _differs(line: Line, configuration: Configuration, running: Running) -> Iterator[str]:
    name, there, wanted = f"main.cf: {line.name}", running[line.name], line.value
    service = f"smtp/inet/{line.name}"
    if configuration.directory and service in running.overrides:
        # What the public service has of its own hides main.cf's.
        name, there = f"master.cf: {service}", running.override(service)
    if line.part is not None:
        own = [entry for entry in split_list(there) if configuration.is_own(entry)]
        if lacking := [entry for entry in line.part if entry not in own]:
            yield f"{name} lacks {', '.join(lacking)}."
        if stale := [entry for entry in own if entry not in line.part]:
            yield f"{name} has {', '.join(stale)} from an earlier run."
        return
    if line.name == "myorigin":
        wanted = running["myhostname"]
    if split_list(there) != split_list(wanted):
        yield f"{name} should be “{wanted}”, and is “{there}”."
