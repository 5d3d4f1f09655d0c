"""A running Postfix's configuration, as postconf prints it."""

import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

# Restrictions that have an argument (access lists, DNS lists).
_TAKES_ARGUMENT = re.compile(r"check_\w+|reject_r\w*bl_\w+|permit_\w+wl_\w+")


class PostfixMissing(Exception):
    """There is no postconf, or it fails."""


class Running:
    """The parameters in a configuration directory; an unknown one is empty."""

    def __init__(self, directory: Path | None) -> None:
        self._where = ["-c", str(directory)] if directory else []
        self.main = dict(_pairs(self._ask("-x")))
        self._written = dict(_pairs(self._ask()))
        self.services = set(self._ask("-M").splitlines())
        self.overrides = dict(_pairs(self._ask("-P")))

    def _ask(self, *options: str) -> str:
        try:
            command = ["postconf", *self._where, *options]
            # Postfix's own program, from PATH; the options are ours.
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)  # noqa: S603
        except FileNotFoundError as error:
            raise PostfixMissing("postconf was not found: is Postfix installed?") from error
        except (subprocess.SubprocessError, OSError) as error:
            raise PostfixMissing(f"postconf does not answer: {error}") from error
        return done.stdout

    def __getitem__(self, name: str) -> str:
        return self.main.get(name, "")

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
                try:
                    names = Path(entry).read_text(encoding="utf-8").replace(",", " ").lower().split()
                except OSError:
                    continue
                found |= set(names) & set(domains)
            elif ":" in entry:
                found |= self._keys(entry, domains)
            else:
                found |= {entry.lower()} & set(domains)
        return found

    def _keys(self, table: str, keys: Sequence[str]) -> set[str]:
        """The keys that a table holds; none if the table cannot be read."""
        # Without proxy:, which needs a running Postfix.
        command = ["postmap", *self._where, "-q", "-", table.removeprefix("proxy:")]
        question = "".join(f"{key}\n" for key in keys)
        try:
            # Postfix's own program, from PATH; the table is the administrator's.
            done = subprocess.run(  # noqa: S603
                command, input=question, capture_output=True, text=True, check=False, timeout=30
            )
        except (subprocess.SubprocessError, OSError):
            return set()
        return {line.partition("\t")[0] for line in done.stdout.splitlines()} & set(keys)

    def override(self, key: str) -> str:
        """A service's own value of a parameter, by `service/type/parameter`; "" if it has none."""
        return self.overrides.get(key, "")


def _pairs(text: str) -> list[tuple[str, str]]:
    pairs = []
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals:
            pairs.append((name.strip(), value.strip()))
    return pairs


def split_list(text: str) -> list[str]:
    """The entries of a list in main.cf, split at commas and white space outside braces.

    A restriction keeps its argument.
    """
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
