"""Writing a configuration into a directory: main.cf, master.cf, tables and a README."""

import shlex
import textwrap
from collections.abc import Mapping
from pathlib import Path

from django.conf import settings

from mail.postfix.parameters import Configuration, service_names, services

_ETC = Path("/etc/postfix")

_README = """\
Anonmail with {title}
{underline}

Written by `manage.py postfix_config`. Run it again when Anonmail's settings{tables_too} change.
docs/mail.md explains the rest: DNS, ports, TLS, upgrading.

1. Let Anonmail hand what it forwards back to Postfix. In Anonmail's settings (.env):

       MAIL_NEXT_HOP={next_hop}
{directory}
   Restart `manage.py mailserver` (or runall), before Postfix is configured.

2. Configure Postfix. As root:

{commands}
3. Check the running Postfix, as root; this names what is missing:

       manage.py postfix_config {arguments} --check

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
        "# Anonmail: takes back what Anonmail forwards, and sends it out.\n"
        "# Nothing is checked again here. If a destination refuses, the bounce goes to Anonmail.\n"
        + services(configuration)
    )


def readme(configuration: Configuration, arguments: str, directory: Path, etc: Path | None) -> str:
    """The README: what to do with the files, as commands.

    `arguments`: of `postfix_config`, as they were given. `etc`: Postfix's configuration directory, if it is
    not the usual one.
    """
    where = f" -c {shlex.quote(str(etc))}" if etc else ""
    postconf, postfix = f"postconf{where}", f"postfix{where}"
    main, master = (shlex.quote(str((etc or _ETC) / name)) for name in ("main.cf", "master.cf"))
    commands = [f"cd {shlex.quote(str(directory))}"]
    if arguments.startswith("fresh"):
        # Debian's “No configuration” has no main.cf yet. Every program that sends mail has to read it.
        backup = shlex.quote(f"{(etc or _ETC) / 'main.cf'}.before-anonmail")
        commands += [
            f"[ -e {backup} ] || [ ! -e {main} ] || cp -p {main} {backup}",
            f"install -m 644 main.cf {main}",
        ]
    else:
        commands.append(
            f"grep -v '^#' main.cf | grep . | while IFS= read -r line; do {postconf} -e \"$line\"; done"
        )
    # Otherwise the services of an earlier run would be there twice.
    commands += [f"{postconf} -MX {name}" for name in service_names(configuration)]
    commands += [f"cat master.cf >> {master}", f"{postfix} check && {postfix} reload || {postfix} start"]
    shared = settings.MAIL_POSTFIX_DIRECTORY
    notes = [textwrap.fill(f"Note: {problem}", 98) + "\n" for problem in configuration.problems]
    return _README.format(
        title=configuration.title,
        underline="=" * (14 + len(configuration.title)),
        tables_too=" or domains" if configuration.tables else "",
        next_hop=configuration.reinjection.next_hop,
        directory=_DIRECTORY.format(owner=settings.VAR_DIR.owner(), directory=shared) if shared else "",
        commands="".join(f"       {command}\n" for command in commands) + "\n",
        arguments=arguments,
        notes="\n".join(notes),
    )


def write(
    configuration: Configuration, arguments: str, directory: Path, etc: Path | None = None
) -> list[Path]:
    """Write everything into the directory, and return the paths. Raises OSError."""
    contents = {
        "main.cf": main_cf(configuration),
        "master.cf": master_cf(configuration),
        "README": readme(configuration, arguments, directory, etc),
        **configuration.tables,
    }
    return write_files({directory / name: content for name, content in contents.items()})


def write_files(contents: Mapping[Path, str]) -> list[Path]:
    """Write files that Postfix, or the administrator of a container, can read. Raises OSError."""
    for path, content in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        path.write_text(content, encoding="utf-8")
        if is_new:
            path.chmod(0o755 if content.startswith("#!") else 0o644)
    return list(contents)
