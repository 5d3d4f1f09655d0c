"""Somebody as a source describes them, cleaned."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from accounts.models.identity import SUBJECT_MAX
from accounts.organisation.sources import Source
from core.addresses import domain_or_none

NAME_MAX = 128
# Groups and domains that are looked at; who has more than that in a claim has none.
LISTED_MAX = 1000
LISTED_LENGTH_MAX = 255
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_VISIBLE = re.compile(r"[^\x00-\x20\x7f-\x9f]+(?: [^\x00-\x20\x7f-\x9f]+)*")


@dataclass(frozen=True)
class Person:
    """What a source says about whoever signs in. `email` is as it came, and may be anything."""

    source: Source
    subject: str
    email: str
    is_verified: bool
    name: str = ""
    groups: frozenset[str] = frozenset()
    # Domains that a claim of their own lists, as A-labels.
    domains: frozenset[str] = frozenset()

    @property
    def manages(self) -> frozenset[str]:
        """The domains that this person manages, as A-labels, whether or not they are here."""
        prefix = self.source.manager_prefix
        if not prefix:
            return self.domains
        named = (group.removeprefix(prefix) for group in self.groups if group.startswith(prefix))
        return self.domains | as_domains(named)


def as_subject(value: Any) -> str:
    """The subject, if it is a text that can be one; otherwise ""."""
    is_fit = isinstance(value, str) and len(value) <= SUBJECT_MAX and _VISIBLE.fullmatch(value)
    return value if is_fit else ""


def as_name(value: Any) -> str:
    """A name that can be stored and shown; "" for what is no text."""
    return " ".join(_CONTROL.sub(" ", value[:1000]).split())[:NAME_MAX] if isinstance(value, str) else ""


def as_list(value: Any) -> frozenset[str]:
    """The texts of a claim that lists some; one text counts as a list. A huge list counts as none."""
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or len(values) > LISTED_MAX:
        return frozenset()
    return frozenset(text for text in values if isinstance(text, str) and 0 < len(text) <= LISTED_LENGTH_MAX)


def as_domains(names: Iterable[str]) -> frozenset[str]:
    """Those that are domain names, as A-labels."""
    return frozenset(name for text in names if (name := domain_or_none(text)))
