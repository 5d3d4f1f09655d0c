"""Checks texts and destinations of an alias and returns them as they are stored."""

import re
from collections.abc import Sequence

from django.utils.formats import number_format
from django.utils.translation import gettext

from aliases import exceptions as refusals
from aliases.websites import note_without_url
from core.addresses import AddressError, normalise_address
from core.text import with_plain_newlines

NOTE_MAX_CHARACTERS = 10_000
NAME_MAX_CHARACTERS = 128  # as SimpleLogin's
DESTINATIONS_MAX = 20


# What the database cannot store: NUL, and halves of surrogate pairs.
_NOT_TEXT = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """The text without the characters that the database cannot store."""
    return _NOT_TEXT.sub("", text)


def clean_text(text: str) -> str:
    """The text, if the database and a mail header can contain it. Raises InvalidValue otherwise."""
    if _NOT_TEXT.search(text):
        raise refusals.InvalidValue(gettext("The text contains invalid characters."))
    return text


def clean_note(note: str, site: str = "") -> str:
    """The note as it is stored: with LF as line ends and a website's URL cut to its host.

    `site` is the website as the client sent it. Raises InvalidValue.
    """
    note = with_plain_newlines(note)
    if len(note) > NOTE_MAX_CHARACTERS:
        raise refusals.InvalidValue(
            gettext("A note has at most %(max)s characters.")
            % {"max": number_format(NOTE_MAX_CHARACTERS, force_grouping=True)}
        )
    return note_without_url(clean_text(note), site)


def clean_name(name: str) -> str:
    """The display name as it is stored: line ends and other control characters become spaces.

    Raises InvalidValue if it is longer than 128 characters.
    """
    name = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", name).strip()
    if len(name) > NAME_MAX_CHARACTERS:
        raise refusals.InvalidValue(
            gettext("A name has at most %(max)s characters.") % {"max": NAME_MAX_CHARACTERS}
        )
    return clean_text(name)


def clean_destinations(destinations: Sequence[str]) -> list[str]:
    """The addresses in normal form, without duplicates. Raises NotAnAddress."""
    if not destinations:
        raise refusals.NotAnAddress(gettext("Enter at least one destination."))
    if len(destinations) > DESTINATIONS_MAX:
        raise refusals.NotAnAddress(
            gettext("An alias has at most %(max)s destinations.") % {"max": DESTINATIONS_MAX}
        )
    try:
        return list(dict.fromkeys(normalise_address(text) for text in destinations))
    except AddressError as error:
        raise refusals.NotAnAddress(gettext("A destination is not a valid e-mail address.")) from error
