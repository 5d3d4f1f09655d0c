"""Patterns that people write, searched for in a time that grows with the text and never explodes.

The engine is RE2, which has neither look-around nor back-references, and so nothing to go back for. It is
loaded with the first pattern that a process meets: 4 MB.
"""

import re
from functools import lru_cache
from typing import Any

from django.utils.translation import gettext

from core.exceptions import RuleError

# Characters of a pattern as it is written, and of a text as it is looked at.
PATTERN_MAX = 200
TEXT_MAX = 1000
# Octets that RE2 may use for one pattern, and instructions of one: `\pL` has 1,200, `.{1,50}` has 400. The
# worst that fits, nested repetitions, takes 10 ms for TEXT_MAX characters.
MEMORY = 256 * 1024
PROGRAM_MAX = 3000
# Patterns that a process keeps ready.
KEPT = 128


class InvalidPattern(RuleError, code="pattern_invalid"):
    """It is no pattern, or not one that can be searched for quickly."""


class Pattern:
    """A regular expression without regard to upper and lower case; `.` is any character."""

    def __init__(self, text: str) -> None:
        """Raises InvalidPattern."""
        if not text:
            raise InvalidPattern(gettext("A pattern must not be empty."))
        if len(text) > PATTERN_MAX:
            raise InvalidPattern(gettext("A pattern has at most %(max)s characters.") % {"max": PATTERN_MAX})
        if "\x00" in text:
            # PostgreSQL keeps no text with it.
            raise InvalidPattern(gettext("A pattern must consist of characters."))
        import re2

        options = re2.Options()
        options.max_mem = MEMORY
        options.case_sensitive = False
        options.dot_nl = True
        # Nobody asks what a group has matched.
        options.never_capture = True
        # It would write the pattern to the standard error stream.
        options.log_errors = False
        try:
            self._compiled: Any = re2.compile(text.encode("utf-8"), options)
        except UnicodeEncodeError as error:
            raise InvalidPattern(gettext("A pattern must consist of characters.")) from error
        except re2.error as error:
            raise InvalidPattern(_sentence(error.args[0])) from error
        if self._compiled.programsize > PROGRAM_MAX:
            raise InvalidPattern(_too_large())

    def is_in(self, text: str) -> bool:
        """Whether a part of the text is what the pattern describes; TEXT_MAX characters are looked at."""
        return self._compiled.search(_octets(text)) is not None

    def is_all_of(self, text: str) -> bool:
        """Whether the whole text is what the pattern describes; never for more than TEXT_MAX characters."""
        return len(text) <= TEXT_MAX and self._compiled.fullmatch(_octets(text)) is not None


def _octets(text: str) -> bytes:
    return text[:TEXT_MAX].encode("utf-8", "replace")


def _sentence(reason: bytes | str) -> str:
    """What RE2 says, in English, within a sentence."""
    said = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else reason
    if "too large" in said:
        return _too_large()
    return gettext("This is not a regular expression that can be used here: %(reason)s.") % {"reason": said}


def _too_large() -> str:
    return gettext("This pattern is too large. Use fewer or smaller repetitions.")


@lru_cache(KEPT)
def pattern(text: str) -> Pattern:
    """The pattern that is written so; kept for the next one who asks. Raises InvalidPattern."""
    return Pattern(text)


def pattern_of_glob(glob: str) -> str:
    """A pattern for all of a text, in which `*` is any number of characters, `?` is one, and all others are
    themselves."""
    pieces = {"*": ".*", "?": "."}
    inner = "".join(pieces.get(character) or re.escape(character) for character in glob)
    return rf"\A{inner}\z"
