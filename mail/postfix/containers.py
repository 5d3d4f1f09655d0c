"""Mail servers in containers: the files that each takes changes of its Postfix from.

Anonmail runs on the host. Its sockets are in a directory of the server's that the container sees anyhow, so
that no volume has to be added; what it forwards goes to a port of the container. The tables are beside it, in
a directory of root's: whoever breaks into Anonmail must not decide where everybody's mail goes. What is not
ours in a file that the administrator may use too stays: ours is between two comments.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from django.conf import settings

from mail.postfix.checking import settings_that_differ, unanswered
from mail.postfix.container_readme import text as readme
from mail.postfix.existing import existing
from mail.postfix.files import main_cf, read
from mail.postfix.parameters import (
    PORT,
    Configuration,
    NotPossible,
    Reinjection,
    service_names,
    services,
)
from mail.postfix.running import Parameters, parameters_of

BEGIN = "# Anonmail begins (postfix_config writes what follows)"
END = "# Anonmail ends"
_TABLES = "-tables"


@dataclass(frozen=True)
class Server:
    """A mail server that brings its own containers. `directory` below is that of its compose file."""

    name: str
    title: str
    usual_directory: str
    shared_there: str  # MAIL_POSTFIX_DIRECTORY, in the directory
    shared_inside: str  # the same, in the container
    service: str  # the container's name in the compose file

    def shared(self, directory: Path) -> Path:
        """Where our sockets are."""
        return directory / self.shared_there

    def tables(self, directory: Path) -> Path:
        """Where our tables are, and a README."""
        return directory / f"{self.shared_there}{_TABLES}"

    def main_cf(self, directory: Path, postfix: Path | None) -> str:
        """The text of main.cf, without our changes where it can be had. Raises NotPossible, OSError."""
        if postfix is None:
            raise NotPossible(
                f"The container's main.cf is needed: copy it with `docker compose cp {self.service}:"
                "/etc/postfix/main.cf .`, and name the directory in which the copy is with --postfix."
            )
        return read(postfix / "main.cf")

    def parameters(self, directory: Path, postfix: Path | None) -> Parameters:
        """Of its Postfix. Raises NotPossible, OSError."""
        if not directory.is_dir():
            raise NotPossible(f"{directory} does not exist: add --directory, the one of the compose file.")
        return parameters_of(self.main_cf(directory, postfix))

    def reinjection(self, directory: Path) -> Reinjection:
        """Where its Postfix takes back what we forward."""
        raise NotImplementedError

    def configuration(self, there: Parameters, directory: Path, reinjection: Reinjection) -> Configuration:
        """What its Postfix needs. Raises NotPossible."""
        shared = self.shared(directory)
        if str(settings.MAIL_POSTFIX_DIRECTORY) != str(shared):
            raise NotPossible(f"Set MAIL_POSTFIX_DIRECTORY={shared}, which the container sees.")
        return existing(there, f"{self.shared_inside}{_TABLES}", reinjection, sockets=self.shared_inside)

    def files(
        self, configuration: Configuration, there: Parameters, directory: Path, arguments: str
    ) -> dict[Path, str]:
        """The contents of the files that configure it, and a README. Raises OSError."""
        tables, size = self.tables(directory), there["message_size_limit"]
        places = (directory, self.shared(directory), tables)
        return {
            **{tables / name: content for name, content in configuration.tables.items()},
            **self.changes(configuration, directory),
            tables / "README": readme(self.name, configuration, places, size, arguments),
        }

    def changes(self, configuration: Configuration, directory: Path) -> dict[Path, str]:
        """The files that the server reads. Raises OSError."""
        raise NotImplementedError


class Mailcow(Server):
    """Its start appends extra.cf to main.cf, after running the scripts in data/hooks/postfix."""

    def main_cf(self, directory: Path, postfix: Path | None) -> str:
        place = postfix or directory / "data/conf/postfix"
        # What follows is written anew at each start.
        own = re.split(r"(?m)^.*Overrides", read(place / "main.cf"), maxsplit=1)[0]
        return own + "\n" + _without_ours(place / "extra.cf")

    def reinjection(self, directory: Path) -> Reinjection:
        first = _setting(directory / "mailcow.conf", "IPV4_NETWORK") or "172.22.1"
        addresses = list(_network(f"{first}.0/24", "IPV4_NETWORK in mailcow.conf").hosts())
        # Its addresses in docker-compose.yml: the host has the first one, Postfix the last but one.
        return Reinjection(str(PORT), f"{addresses[252]}:{PORT}", str(addresses[0]))

    def changes(self, configuration: Configuration, directory: Path) -> dict[Path, str]:
        extra = directory / "data/conf/postfix/extra.cf"
        hook = [
            "#!/bin/bash",
            "# Anonmail (postfix_config writes this file): services of master.cf, at each start.",
            *(f"postconf -Me {shlex.quote(line)}" for line in _service_lines(configuration)),
            "# What people submit passes through this service, which could not reach Anonmail's sockets.",
            "postconf -F smtp_sender_cleanup/unix/chroot=n",
        ]
        return {
            extra: _with_ours(extra, main_cf(configuration)),
            directory / "data/hooks/postfix/anonmail.sh": "\n".join(hook) + "\n",
        }


# Dovecot's quota service would refuse aliases as unknown users. Who is unknown, Postfix knows.
_QUOTA = (
    "quota=/etc/dovecot/conf.d/90-quota.conf",
    "if [ -f $quota ] && ! grep -q quota_status_nouser $quota; then",
    "  form='%s\\n'",
    "  # Dovecot 2.3 has it among the settings of plugins.",
    "  if grep -q '^plugin' $quota; then form='plugin {\\n  %s\\n}\\n'; fi",
    "  printf \"$form\" 'quota_status_nouser = DUNNO' >> $quota",
    "fi",
)


class DockerMailserver(Server):
    """A new container runs user-patches.sh before it starts Postfix, after all that its settings change."""

    def reinjection(self, directory: Path) -> Reinjection:
        # The gateway of the container's network: who connects to the published port on the host.
        return Reinjection(str(PORT), f"127.0.0.1:{PORT}", "$gateway")

    def changes(self, configuration: Configuration, directory: Path) -> dict[Path, str]:
        script = directory / "docker-data/dms/config/user-patches.sh"
        lines = [
            "gateway=$(ip -4 route show default | awk '{ print $3; exit }')",
            *(f'postconf -Me "{line}"' for line in _service_lines(configuration)),
            "# A list keeps what the container's settings have put there.",
            "prepend() {",
            '  local theirs; theirs=$(postconf -h "$1")',
            '  postconf -e "$1 = $2${theirs:+, $theirs}"',
            "}",
            "if ! postconf -h smtpd_restriction_classes | grep -q anonmail; then",
        ]
        for parameter in configuration.parameters:
            if parameter.own_entries is None:
                lines.append(f"  postconf -e {shlex.quote(f'{parameter.name} = {parameter.value}')}")
            else:
                own = shlex.quote(", ".join(parameter.own_entries))
                lines.append(f"  prepend {parameter.name} {own}")
        lines += [
            "fi",
            *_QUOTA,
            f"chgrp -R postfix {self.shared_inside} && chmod 2750 {self.shared_inside}",
        ]
        return {script: _with_ours(script, "\n".join(lines))}


class Mailu(Server):
    """Its start passes each line of two files to postconf, in a shell's double quotes."""

    def reinjection(self, directory: Path) -> Reinjection:
        subnet = _setting(directory / "mailu.env", "SUBNET") or "192.168.203.0/24"
        # The gateway of the container's network: who connects to the published port on the host.
        gateway = next(_network(subnet, "SUBNET in mailu.env").hosts())
        return Reinjection(str(PORT), f"127.0.0.1:{PORT}", str(gateway))

    def changes(self, configuration: Configuration, directory: Path) -> dict[Path, str]:
        overrides = directory / "overrides/postfix"
        parameters = main_cf(configuration).splitlines()
        return {
            overrides / name: _with_ours(
                overrides / name,
                "\n".join(line if line[:1] == "#" else _in_double_quotes(line) for line in lines),
            )
            for name, lines in (
                ("postfix.cf", parameters),
                ("postfix.master", _service_lines(configuration)),
            )
        }


SERVERS: Mapping[str, Server] = {
    server.name: server
    for server in (
        Mailcow(
            "mailcow",
            "mailcow",
            "/opt/mailcow-dockerized",
            "data/conf/postfix/anonmail",
            "/opt/postfix/conf/anonmail",
            "postfix-mailcow",
        ),
        DockerMailserver(
            "docker-mailserver",
            "docker-mailserver",
            "/opt/docker-mailserver",
            "docker-data/dms/config/anonmail",
            "/tmp/docker-mailserver/anonmail",  # noqa: S108 - docker-mailserver's own
            "mailserver",
        ),
        Mailu("mailu", "Mailu", "/mailu", "overrides/postfix/anonmail", "/overrides/anonmail", "smtp"),
    )
}


def missing_in_files(configuration: Configuration, there: Parameters, files: Mapping[Path, str]) -> list[str]:
    """A sentence for each file that is not up to date, and each setting or listener of ours that is wrong."""
    return [
        *configuration.problems,
        *settings_that_differ(configuration, there),
        *unanswered(configuration),
        *(
            f"{path} is not up to date: write it again, and restart the container."
            for path, content in files.items()
            if _text(path) != content
        ),
    ]


def _service_lines(configuration: Configuration) -> list[str]:
    """The services of master.cf as postconf -Me takes them: `10026/inet=10026 inet n - n …`."""
    joined = re.sub(r"\n\s+", " ", services(configuration)).splitlines()
    return [f"{name}={line}" for name, line in zip(service_names(configuration), joined, strict=True)]


def _in_double_quotes(line: str) -> str:
    return re.sub(r'([\\"$`])', r"\\\1", line)


def _text(path: Path) -> str:
    return read(path) if path.is_file() else ""


def _setting(file: Path, name: str) -> str:
    found = re.search(rf"(?m)^{name}=(\S+)", _text(file))
    return found[1].strip("'\"") if found else ""


def _network(text: str, name: str) -> IPv4Network:
    """Raises NotPossible."""
    try:
        return IPv4Network(text, strict=False)
    except ValueError as error:
        raise NotPossible(f"{name} is not understood: {text!r}.") from error


_MARK = re.compile(rf"(?m)^({re.escape(BEGIN)}|{re.escape(END)})[ \t\r]*$\n?")


def _without_ours(path: Path) -> str:
    """The text of a file of theirs. Raises NotPossible if it is not clear what in it is ours, and OSError."""
    # What comes before a mark, and the mark, by turns; then the rest.
    *parts, rest = _MARK.split(_text(path))
    if parts[1::2] != [BEGIN, END] * (len(parts) // 4):
        raise NotPossible(
            f"{path} has a line “{BEGIN}” or “{END}” without the other: remove by hand what is Anonmail's."
        )
    return "".join(parts[::4]) + rest


def _with_ours(path: Path, ours: str) -> str:
    rest = _without_ours(path)
    if rest and not rest.endswith("\n"):
        rest += "\n"
    return f"{rest}{BEGIN}\n{ours.rstrip()}\n{END}\n"
