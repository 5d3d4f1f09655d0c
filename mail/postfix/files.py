"""Writing a configuration into a directory: main.cf, master.cf, tables and a README."""

import textwrap
from pathlib import Path

from django.conf import settings

from mail.postfix.parameters import Configuration, reinjection_service

_README = """\
Anonmail with {title}
{underline}

Written by `manage.py postfix_config`. Run it again when Anonmail's settings{tables_too} change.
docs/mail.md explains the rest: DNS, ports, TLS, upgrading.

1. Let Anonmail hand what it forwards back to Postfix. In Anonmail's settings (.env):

       MAIL_NEXT_HOP=smtp://{reinjection}
{directory}
   Restart `manage.py mailserver` (or runall), before Postfix is configured.

2. Configure Postfix. As root, in this directory:

{commands}
3. Check the running Postfix, as root; this names what is missing:

       manage.py postfix_config {variant} --check

{notes}"""

_DIRECTORY = """
   As root, make the directory that Anonmail shares with Postfix: Anonmail's user writes to it, and
   Postfix's group is that of the UNIX sockets in it. Other users of this machine cannot enter it.

       install -d -m 2750 -o {owner} -g postfix {directory}
"""


def main_cf(configuration: Configuration) -> str:
    """The text of main.cf, with the reasons as comments."""
    parts = [f"# Anonmail: main.cf for {configuration.title}.", ""]
    for parameter in configuration.parameters:
        if parameter.reason:
            parts += ["", *textwrap.wrap(parameter.reason, 98, initial_indent="# ", subsequent_indent="# ")]
        parts.append(f"{parameter.name} = {parameter.value}".rstrip())
    return "\n".join(parts) + "\n"


def master_cf(configuration: Configuration) -> str:
    """The text of master.cf."""
    return (
        "# Anonmail: takes back what Anonmail forwards, from this machine only, and sends it out.\n"
        "# Nothing is checked again here. If a destination refuses, the bounce goes to Anonmail.\n"
        + reinjection_service(configuration.reinjection)
    )


def readme(configuration: Configuration, variant: str) -> str:
    """The README: what to do with the files, as commands."""
    if variant.startswith("fresh"):
        commands = [
            "cp /etc/postfix/main.cf /etc/postfix/main.cf.before-anonmail",
            "cp main.cf /etc/postfix/main.cf",
        ]
    else:
        commands = ["grep -v '^#' main.cf | grep . | while IFS= read -r line; do postconf -e \"$line\"; done"]
    commands += [
        # Otherwise the service of an earlier run would be there twice.
        f"postconf -MX {configuration.reinjection}/inet",
        "cat master.cf >> /etc/postfix/master.cf",
        "postfix check && postfix reload",
    ]
    shared = settings.MAIL_POSTFIX_DIRECTORY
    notes = [textwrap.fill(f"Note: {problem}", 98) + "\n" for problem in configuration.problems]
    return _README.format(
        title=configuration.title,
        underline="=" * (14 + len(configuration.title)),
        tables_too=" or domains" if configuration.tables else "",
        reinjection=configuration.reinjection,
        directory=_DIRECTORY.format(owner=settings.VAR_DIR.owner(), directory=shared) if shared else "",
        commands="".join(f"       {command}\n" for command in commands) + "\n",
        variant=variant,
        notes="\n".join(notes),
    )


def write(configuration: Configuration, variant: str, directory: Path) -> list[Path]:
    """Write everything into the directory, and return the paths. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    contents = {
        "main.cf": main_cf(configuration),
        "master.cf": master_cf(configuration),
        "README": readme(configuration, variant),
        **configuration.tables,
    }
    for name, content in contents.items():
        (directory / name).write_text(content, encoding="utf-8")
    return [directory / name for name in contents]
