"""The conditions of a rule: written by a person, kept as JSON, and true or false of a message."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.db import models
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from core.matching import PATTERN_MAX, InvalidPattern, pattern
from rules.exceptions import InvalidRule
from rules.facts import Facts, composed

# As addy.io's.
CONDITIONS_MAX = 5  # of one rule
VALUES_MAX = 50  # of one condition
VALUE_MAX = PATTERN_MAX  # characters
HEADER_NAME_MAX = 76
SHOWN_MAX = 5
# RFC 5322 §3.6.8
_HEADER_NAME = re.compile(r"[\x21-\x39\x3b-\x7e]+")


class Of(models.TextChoices):
    """What a condition looks at. The values are kept: never rename one."""

    SENDER = "sender", _("sender's address")
    SUBJECT = "subject", _("subject")
    ALIAS = "alias", _("alias")
    NOTE = "note", _("note of the alias")
    HEADER = "header", _("header field")


class Match(models.TextChoices):
    """How it compares. The values are kept: never rename one."""

    IS = "is", _("is")
    IS_NOT = "is_not", _("is not")
    CONTAINS = "contains", _("contains")
    CONTAINS_NOT = "contains_not", _("does not contain")
    STARTS = "starts", _("starts with")
    STARTS_NOT = "starts_not", _("does not start with")
    ENDS = "ends", _("ends with")
    ENDS_NOT = "ends_not", _("does not end with")
    MATCHES = "matches", _("matches the pattern")
    MATCHES_NOT = "matches_not", _("does not match the pattern")

    @property
    def deed(self) -> str:
        """The comparison itself."""
        return self.value.removesuffix("_not")

    @property
    def is_negative(self) -> bool:
        return self.value.endswith("_not")

    @property
    def takes_patterns(self) -> bool:
        return self.deed == "matches"


@dataclass(frozen=True)
class Condition:
    """One condition. It is true if one of the values fits one of the texts; a negative one, if none does."""

    of: Of
    match: Match
    values: tuple[str, ...]
    header: str = ""  # the field's name in lower case, of Of.HEADER

    @classmethod
    def kept(cls, data: dict[str, Any]) -> "Condition":
        """The condition that `as_json` has written."""
        values = tuple(data["values"])
        return cls(Of(data["of"]), Match(data["match"]), values, data.get("header", ""))

    def as_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {"of": self.of.value, "match": self.match.value, "values": list(self.values)}
        return {**data, "header": self.header} if self.header else data

    @property
    def subject(self) -> str:
        """What it looks at, in words."""
        if self.of is Of.HEADER:
            return gettext("header field %(name)s") % {"name": self.header}
        return str(self.of.label)

    @property
    def shown_values(self) -> tuple[str, ...]:
        """The first values, as many as fit a line or two."""
        return self.values[:SHOWN_MAX]

    @property
    def left_out(self) -> int:
        return len(self.values) - len(self.shown_values)

    @property
    def patterns(self) -> int:
        """How many patterns it has."""
        return len(self.values) if self.match.takes_patterns else 0

    @cached_property
    def _folded(self) -> list[str]:
        return [_folded(composed(value)) for value in self.values]

    def holds(self, facts: Facts) -> bool:
        """Whether it is true of the message. Raises InvalidPattern for one that is not accepted any more."""
        texts = self._texts(facts)
        if self.match.takes_patterns:
            found = any(pattern(composed(value)).is_in(text) for value in self.values for text in texts)
        else:
            folded = [_folded(text) for text in texts]
            found = any(_COMPARE[self.match.deed](text, value) for value in self._folded for text in folded)
        return found is not self.match.is_negative

    def _texts(self, facts: Facts) -> Sequence[str]:
        match self.of:
            case Of.SENDER:
                return facts.senders
            case Of.SUBJECT:
                return facts.header("subject")
            case Of.ALIAS:
                return facts.aliases
            case Of.NOTE:
                return facts.notes
        return facts.header(self.header)


def _folded(text: str) -> str:
    """A `composed` text without regard to upper and lower case."""
    return composed(text.casefold())


_COMPARE = {
    "is": str.__eq__,
    "contains": str.__contains__,
    "starts": str.startswith,
    "ends": str.endswith,
}


def clean_condition(of: str, match: str, values: Sequence[str], header: str, part: str) -> Condition:
    """The condition as a person has written it. Raises InvalidRule about this part."""
    if of not in Of.values or match not in Match.values:
        raise InvalidRule(gettext("There is no such condition."), part)
    if of == Of.HEADER and (len(header) > HEADER_NAME_MAX or not _HEADER_NAME.fullmatch(header)):
        sentence = gettext("This is not the name of a header field, as in List-Id.")
        raise InvalidRule(sentence, part, is_about_header=True)
    takes_patterns = Match(match).takes_patterns
    written = (value.strip() if takes_patterns else " ".join(value.split()) for value in values)
    wanted = list(dict.fromkeys(filter(None, written)))
    if not wanted:
        raise InvalidRule(gettext("A condition needs a value."), part)
    if len(wanted) > VALUES_MAX:
        raise InvalidRule(gettext("A condition has at most %(max)s values.") % {"max": VALUES_MAX}, part)
    for value in wanted:
        if len(value) > VALUE_MAX:
            message = gettext("A value has at most %(max)s characters.") % {"max": VALUE_MAX}
            raise InvalidRule(message, part)
        if has_controls(value):
            raise InvalidRule(gettext("A value must not contain control characters."), part)
        if takes_patterns:
            try:
                pattern(composed(value))
            except InvalidPattern as error:
                raise InvalidRule(str(error), part) from error
    return Condition(Of(of), Match(match), tuple(wanted), header.lower() if of == Of.HEADER else "")


def has_controls(text: str) -> bool:
    """Whether the text has control characters, or what is no character."""
    return any(unicodedata.category(character) in {"Cc", "Cs"} for character in text)
