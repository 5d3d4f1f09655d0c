"""The configuration of a Postfix: as its postconf prints it, or as a main.cf has it."""

import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mail.server.programs import postfix_program

# Restrictions that have an argument (access lists, DNS lists).
_TAKES_ARGUMENT = re.compile(r"check_\w+|reject_r\w*bl_\w+|permit_\w+wl_\w+")

# The service for the world, and the one behind postscreen.
PUBLIC = ("smtp/inet", "smtpd/pass")


class PostfixMissing(Exception):
    """There is no postconf, or it fails."""


class Parameters:
    """The parameters of a Postfix; an unknown one is empty.

    `main`: with each `$other_parameter` expanded; `as_written`: without. `services`: the fields of each
    service (master(5)), with its options behind them; `overrides`: those options by `service/type/parameter`.
    """

    # Whether `members` can look into tables.
    knows_tables = False

    def __init__(
        self,
        main: Mapping[str, str],
        as_written: Mapping[str, str],
        services: Sequence[Sequence[str]] = (),
        overrides: Mapping[str, str] | None = None,
    ) -> None:
        self.main, self._as_written = main, as_written
        self.services, self.overrides = services, overrides or {}

    def __getitem__(self, name: str) -> str:
        return self.main.get(name, "")

    def expanded(self, value: str) -> str:
        """A value with each `$other_parameter` expanded."""
        return re.sub(r"\$(\w+)", lambda found: self[found[1]], value)

    def as_written(self, name: str) -> str:
        """The value as main.cf has it, with each `$other_parameter` as it is."""
        return self._as_written.get(name, "")

    def words(self, name: str, without: Callable[[str], bool] = lambda _entry: False) -> list[str]:
        """The entries of a list, with each `$other_parameter` expanded."""
        return [entry for entry in split_list(self[name]) if not without(entry)]

    def written(self, name: str, without: Callable[[str], bool]) -> list[str]:
        """The entries as main.cf has them, with each `$other_parameter` as it is."""
        return [entry for entry in split_list(self.as_written(name)) if not without(entry)]

    def members(self, entries: Sequence[str], domains: Sequence[str]) -> set[str]:
        """The domains that are in a list of domains, which may also name files and tables."""
        found: set[str] = set()
        for entry in entries:
            if entry.startswith("/"):
                found.update(self._lines(Path(entry)).replace(",", " ").lower().split())
            elif ":" in entry:
                found |= self._keys(entry, domains)
            else:
                found.add(entry.lower())
        return found & set(domains)

    def _lines(self, file: Path) -> str:
        return ""

    def _keys(self, table: str, keys: Sequence[str]) -> set[str]:
        return set()


class Running(Parameters):
    """The parameters in a configuration directory of this machine, as its postconf tells them.

    Raises PostfixMissing.
    """

    knows_tables = True

    def __init__(self, directory: Path | None) -> None:
        self._where = ["-c", str(directory)] if directory else []
        super().__init__(
            _pairs(self._ask("-x")),
            _pairs(self._ask()),
            [line.split() for line in self._ask("-M").splitlines()],
            _pairs(self._ask("-P")),
        )

    def _run(self, program: str, *options: str, **more: Any) -> str:
        # Postfix's own program; the options are ours, the tables the administrator's.
        command = [postfix_program(program), *self._where, *options]
        done = subprocess.run(  # noqa: S603
            command,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=30,
            **more,
        )
        return str(done.stdout)

    def _ask(self, *options: str) -> str:
        try:
            return self._run("postconf", *options, check=True)
        except FileNotFoundError as error:
            raise PostfixMissing(
                f"{error}: is Postfix installed on this machine? For one in a container, add --for."
            ) from error
        except subprocess.CalledProcessError as error:
            raise PostfixMissing(f"postconf does not answer: {str(error.stderr).strip()}") from error
        except (subprocess.SubprocessError, OSError) as error:
            raise PostfixMissing(f"postconf does not answer: {error}") from error

    def _lines(self, file: Path) -> str:
        try:
            return file.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return ""

    def _keys(self, table: str, keys: Sequence[str]) -> set[str]:
        """The keys that a table holds; none if the table cannot be read."""
        question = "".join(f"{key}\n" for key in keys)
        try:
            # Without proxy:, which needs a running Postfix.
            said = self._run("postmap", "-q", "-", table.removeprefix("proxy:"), input=question)
        except (subprocess.SubprocessError, OSError):
            return set()
        return {line.partition("\t")[0] for line in said.splitlines()}


# Postfix's own values of the parameters that we look at (postconf(5), 3.6 and later).
_DEFAULTS = {
    "mydestination": "$myhostname, localhost.$mydomain, localhost",
    "myorigin": "$myhostname",
    "local_recipient_maps": "proxy:unix:passwd.byname $alias_maps",
    "virtual_alias_domains": "$virtual_alias_maps",
    "virtual_mailbox_domains": "$virtual_mailbox_maps",
    "message_size_limit": "10240000",
    "smtpd_soft_error_limit": "10",
    "smtpd_hard_error_limit": "${stress?{1}:{20}}",
    "smtpd_error_sleep_time": "1s",
    "smtpd_forbid_bare_newline": "no",
}
_REFERENCE = re.compile(r"\$(?:(\w+)|\{(\w+)\}|\((\w+)\))")
# `$one` leads to `$another`, and a value is so long: more than any main.cf has.
_DEPTH = 10
_LENGTH_MAX = 100_000


def parameters_of(main_cf: str) -> Parameters:
    """The parameters in the text of a main.cf that Postfix of another machine or container reads."""
    written = {**_DEFAULTS}
    main_cf = main_cf.replace("\r\n", "\n")
    for line in re.sub(r"\n[ \t]+", " ", re.sub(r"(?m)^\s*(#.*)?\n", "", main_cf)).split("\n"):
        name, equals, value = line.partition("=")
        if equals:
            written[name.strip()] = value.strip()
    expanded = {}
    for name, value in written.items():
        for _step in range(_DEPTH):
            if "$" not in value or len(value) > _LENGTH_MAX:
                break
            value = _REFERENCE.sub(lambda found: written.get(found[found.lastindex or 0], ""), value)
        expanded[name] = value
    return Parameters(expanded, written)


def _pairs(text: str) -> dict[str, str]:
    lines = (line.partition("=") for line in text.splitlines())
    return {name.strip(): value.strip() for name, equals, value in lines if equals}


def split_list(text: str) -> list[str]:
    """The entries of a list in main.cf, split at commas and white space outside braces; a restriction keeps
    its argument."""
    entries, depth, word = [], 0, ""
    for character in text + " ":
        depth += (character == "{") - (character == "}")
        if depth == 0 and (character.isspace() or character == ","):
            if word:
                entries.append(word)
            word = ""
        else:
            word += character
    joined: list[str] = []
    for entry in entries:
        if joined and _TAKES_ARGUMENT.fullmatch(joined[-1]):
            joined[-1] += f" {entry}"
        else:
            joined.append(entry)
    return joined
