"""A running Postfix's configuration, as postconf tells it."""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path


class PostfixMissing(Exception):
    """There is no postconf to ask, or it refuses."""


class Running:
    """The parameters of a configuration directory; a parameter that is unknown there is empty."""

    def __init__(self, directory: Path | None) -> None:
        self._where = ["-c", str(directory)] if directory else []
        self.main = dict(_pairs(self._ask("-x")))
        self.services = set(self._ask("-M").splitlines())

    def _ask(self, *options: str) -> str:
        try:
            command = ["postconf", *self._where, *options]
            # Postfix's own program, of PATH; the options are ours.
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)  # noqa: S603
        except FileNotFoundError as error:
            raise PostfixMissing("There is no postconf here: is Postfix installed?") from error
        except (subprocess.SubprocessError, OSError) as error:
            raise PostfixMissing(f"postconf does not answer: {error}") from error
        return done.stdout

    def __getitem__(self, name: str) -> str:
        return self.main.get(name, "")

    def words(self, name: str) -> list[str]:
        """The entries of a list, split as Postfix splits it: at commas and white space outside braces."""
        return split_list(self[name])

    def holds(self, name: str, domains: Sequence[str]) -> bool:
        """Whether one of the domains belongs to the class whose recipients this parameter lists."""
        classes = {"local_recipient_maps": "mydestination", "relay_recipient_maps": "relay_domains"}
        return any(entry in domains for entry in self.words(classes[name]))

    def override(self, key: str) -> str:
        """A parameter of a service, by `service/type/parameter`; "" where it has none."""
        for line in self._ask("-P").splitlines():
            name, _equals, value = line.partition("=")
            if name.strip() == key:
                return value.strip()
        return ""


def _pairs(text: str) -> list[tuple[str, str]]:
    pairs = []
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals:
            pairs.append((name.strip(), value.strip()))
    return pairs


def split_list(text: str) -> list[str]:
    """The entries of a list in main.cf: braces hold one together, and a restriction has its argument."""
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
        if joined and re.fullmatch(r"check_\w+", joined[-1]):
            joined[-1] += f" {entry}"
        else:
            joined.append(entry)
    return joined
