"""A running Postfix's configuration, as postconf prints it."""

import re
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

# Restrictions that have an argument (access lists, DNS lists).
_TAKES_ARGUMENT = re.compile(r"check_\w+|reject_r\w*bl_\w+|permit_\w+wl_\w+")


class PostfixMissing(Exception):
    """There is no postconf, or it fails."""


class Running:
    """The parameters in a configuration directory; an unknown one is empty."""

    def __init__(self, directory: Path | None) -> None:
        self._where = ["-c", str(directory)] if directory else []
        self.main = _pairs(self._ask("-x"))
        self._written = _pairs(self._ask())
        # The fields of each service (master(5)), with its options behind them.
        self.services = [line.split() for line in self._ask("-M").splitlines()]
        # By `service/type/parameter`.
        self.overrides = _pairs(self._ask("-P"))

    def _run(self, program: str, *options: str, **more: Any) -> str:
        # Postfix's own program, from PATH; the options are ours, the tables the administrator's.
        command = [program, *self._where, *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, **more)  # noqa: S603
        return str(done.stdout)

    def _ask(self, *options: str) -> str:
        try:
            return self._run("postconf", *options, check=True)
        except FileNotFoundError as error:
            raise PostfixMissing("postconf was not found: is Postfix installed?") from error
        except (subprocess.SubprocessError, OSError) as error:
            raise PostfixMissing(f"postconf does not answer: {error}") from error

    def __getitem__(self, name: str) -> str:
        return self.main.get(name, "")

    def expanded(self, value: str) -> str:
        """A value with each `$other_parameter` expanded."""
        return re.sub(r"\$(\w+)", lambda found: self[found[1]], value)

    def words(self, name: str, without: Callable[[str], bool] = lambda _entry: False) -> list[str]:
        """The entries of a list, with each `$other_parameter` expanded."""
        return [entry for entry in split_list(self[name]) if not without(entry)]

    def written(self, name: str, without: Callable[[str], bool]) -> list[str]:
        """The entries as main.cf has them, with each `$other_parameter` as it is."""
        return [entry for entry in split_list(self._written.get(name, "")) if not without(entry)]

    def members(self, entries: Sequence[str], domains: Sequence[str]) -> set[str]:
        """The domains that are in a list of domains, which may also name files and tables."""
        found: set[str] = set()
        for entry in entries:
            if entry.startswith("/"):
                with suppress(OSError):
                    found.update(Path(entry).read_text(encoding="utf-8").replace(",", " ").lower().split())
            elif ":" in entry:
                found |= self._keys(entry, domains)
            else:
                found.add(entry.lower())
        return found & set(domains)

    def _keys(self, table: str, keys: Sequence[str]) -> set[str]:
        """The keys that a table holds; none if the table cannot be read."""
        question = "".join(f"{key}\n" for key in keys)
        try:
            # Without proxy:, which needs a running Postfix.
            said = self._run("postmap", "-q", "-", table.removeprefix("proxy:"), input=question)
        except (subprocess.SubprocessError, OSError):
            return set()
        return {line.partition("\t")[0] for line in said.splitlines()}


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
