"""Writing a configuration into a directory: main.cf, master.cf, tables and a README."""

import os
import shlex
import stat
import tempfile
import textwrap
from collections.abc import Mapping
from pathlib import Path

from django.conf import settings

from mail.postfix.parameters import Configuration, service_names, services

ETC = Path("/etc/postfix")
SCRIPT = "apply.sh"

_README = """\
Anonmail with {title}
{underline}

Written by `manage.py postfix_config`. Run it again when Anonmail's settings{tables_too} change.
docs/mail.md explains the rest: DNS, ports, TLS, upgrading.

1. Let Anonmail hand what it forwards back to Postfix. In Anonmail's settings (.env):

       MAIL_NEXT_HOP={next_hop}
{directory}
   Restart `manage.py mailserver` (or runall), before Postfix is configured.

2. Configure Postfix. As root{script}:

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


def commands(configuration: Configuration, arguments: str, directory: Path, etc: Path | None) -> list[str]:
    """What to do with the files, as root.

    `arguments`: of `postfix_config`, as they were given. `etc`: Postfix's configuration directory, if it is
    not the usual one.
    """
    where = f" -c {shlex.quote(str(etc))}" if etc else ""
    postconf, postfix = f"postconf{where}", f"postfix{where}"
    main, master = (shlex.quote(str((etc or ETC) / name)) for name in ("main.cf", "master.cf"))
    found = [f"cd {shlex.quote(str(directory))}"]
    if arguments.startswith("fresh"):
        # Debian's “No configuration” has no main.cf yet. Every program that sends mail has to read it.
        backup = shlex.quote(f"{(etc or ETC) / 'main.cf'}.before-anonmail")
        found += [
            f"[ -e {backup} ] || [ ! -e {main} ] || cp -p {main} {backup}",
            f"install -m 644 main.cf {main}",
        ]
    else:
        # In one step: in between, Postfix would run with half of it.
        found.append(f"grep -a '^[^#]' main.cf | tr '\\n' '\\0' | xargs -0 {postconf} -e")
    # Otherwise the services of an earlier run, and comments, would be there twice.
    found += [f"{postconf} -MX {name}" for name in service_names(configuration)]
    found += [
        f"grep -v '^#' master.cf >> {master}",
        *(
            f"{postconf} -P {shlex.quote(f'{option}={value}')}"
            for option, value in configuration.overrides.items()
        ),
        f"{postfix} check && {postfix} reload || {postfix} start",
    ]
    return found


def readme(configuration: Configuration, arguments: str, directory: Path, etc: Path | None) -> str:
    """The README: what to do with the files."""
    shared = settings.MAIL_POSTFIX_DIRECTORY
    notes = [textwrap.fill(f"Note: {problem}", 98) + "\n" for problem in configuration.problems]
    return _README.format(
        title=configuration.title,
        underline="=" * (14 + len(configuration.title)),
        tables_too=" or domains" if configuration.tables else "",
        next_hop=configuration.reinjection.next_hop,
        directory=_DIRECTORY.format(owner=settings.VAR_DIR.owner(), directory=shlex.quote(shared))
        if shared
        else "",
        commands="".join(
            f"       {command}\n" for command in commands(configuration, arguments, directory, etc)
        )
        + "\n",
        script=f" (`sh {directory / SCRIPT}` runs the same)" if configuration.tables else "",
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
    if configuration.tables:
        # Only where the directory is root's: root runs no script that Anonmail could change.
        steps = commands(configuration, arguments, directory, etc)
        lines = ["#!/bin/sh", "# The commands of step 2 of the README.", "set -e", *steps, ""]
        contents[SCRIPT] = "\n".join(lines)
    return write_files({directory / name: content for name, content in contents.items()})


def read(path: Path) -> str:
    """The text of a file, which may have octets that are no UTF-8 and any line ends. Raises OSError."""
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return file.read()


def write_files(contents: Mapping[Path, str]) -> list[Path]:
    """Write files that Postfix, or the administrator of a container, can read. Raises OSError."""
    for path, content in contents.items():
        for directory in reversed([each for each in path.parents if not each.exists()]):
            directory.mkdir()
            directory.chmod(0o755)
        _write(path.resolve(), content)
    return list(contents)


def _write(path: Path, content: str) -> None:
    """Write a file whole, or leave it as it is: on a full disk too, and for whoever reads it meanwhile."""
    octets = content.encode(errors="surrogateescape")
    mode, owner = 0o755 if content.startswith("#!") else 0o644, None
    if path.exists():
        if path.read_bytes() == octets:
            return
        before = path.stat()
        mode, owner = stat.S_IMODE(before.st_mode), (before.st_uid, before.st_gid)
    # In its directory: another one may be on another file system.
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    unfinished = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        if owner and owner != (os.geteuid(), os.getegid()):
            os.chown(unfinished, *owner)
        unfinished.chmod(mode)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
