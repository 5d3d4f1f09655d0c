"""Reading what addy.io's clients send; what breaks a rule is refused by the name of its field (422)."""

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from allauth.account.models import EmailAddress
from django.utils.translation import gettext

from accounts.models import User
from aliases import exceptions as refusals
from api.addy.ids import public_id
from api.errors import Unprocessable
from core.exceptions import RuleError

BULK_MAX = 25  # as addy.io's
# The deepest page: far beyond anyone's aliases; a database's OFFSET is 63 bits wide.
PAGE_MAX = 1_000_000_000
PAGE_SIZE_MAX = 100
SEARCH_MIN, SEARCH_MAX = 3, 50

# The field that a rule's refusal is about.
FIELD_OF_REFUSAL: dict[type[RuleError], str] = {
    refusals.DomainNotFound: "domain",
    refusals.DomainForbidden: "domain",
    refusals.NoUsableDomain: "domain",
    refusals.DestinationForbidden: "recipient_ids",
    refusals.NotAnAddress: "recipient_ids",
    refusals.AddressTaken: "local_part_without_extension",
}


@contextmanager
def refused_by_field(invalid: str) -> Iterator[None]:
    """Raise Unprocessable for a rule's refusal; `invalid`: the field whose value InvalidValue is about."""
    try:
        yield
    except RuleError as error:
        field = invalid if isinstance(error, refusals.InvalidValue) else FIELD_OF_REFUSAL.get(type(error))
        if field is None:
            raise
        raise Unprocessable(field, error) from error


def text_of(data: dict[str, Any], name: str) -> str | None:
    """The text in a field, trimmed; None where it is missing, null or empty. Raises Unprocessable."""
    value = data.get(name)
    if value is not None and not isinstance(value, str):
        raise Unprocessable(name, gettext("The field “%(name)s” must be a text.") % {"name": name})
    return (value or "").strip() or None


def required_text(data: dict[str, Any], name: str) -> str:
    """The text in a field that must be there. Raises Unprocessable."""
    text = text_of(data, name)
    if text is None:
        raise Unprocessable(name, gettext("The field “%(name)s” is required.") % {"name": name})
    return text


def choice_of(data: dict[str, Any], name: str, choices: tuple[str, ...], default: str = "") -> str:
    """One of these words; the default where there is none. Raises Unprocessable."""
    text = text_of(data, name)
    if text is not None and text not in choices:
        raise Unprocessable(
            name.replace("[", ".").rstrip("]"),
            gettext("“%(name)s” must be one of: %(choices)s.")
            % {"name": name, "choices": ", ".join(choices)},
        )
    return text or default


def whole_of(query: dict[str, str], name: str, default: int, most: int) -> int:
    """A whole number from 1 in the query string. Raises Unprocessable."""
    text = query.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or not 1 <= int(text) <= most:
        raise Unprocessable(
            name.replace("[", ".").rstrip("]"),
            gettext("“%(name)s” must be a whole number from 1 to %(max)s.") % {"name": name, "max": most},
        )
    return int(text)


def search_of(query: dict[str, str]) -> str:
    """The text to search for; "" for none. Raises Unprocessable."""
    text = query.get("filter[search]", "").strip()
    if text and not SEARCH_MIN <= len(text) <= SEARCH_MAX:
        raise Unprocessable(
            "filter.search",
            gettext("A search has between %(min)s and %(max)s characters.")
            % {"min": SEARCH_MIN, "max": SEARCH_MAX},
        )
    return text


_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def uuid_of(text: str) -> uuid.UUID | None:
    """The id that is written there; None where it is none."""
    return uuid.UUID(text) if _UUID.fullmatch(text) else None


def ids_of(data: dict[str, Any], name: str = "ids", most: int = BULK_MAX) -> list[uuid.UUID]:
    """The ids in a field, without repetitions: one at least. Raises Unprocessable."""
    values = data.get(name)
    found = [uuid_of(value) for value in values if isinstance(value, str)] if isinstance(values, list) else []
    ids = [value for value in found if value is not None]
    if not ids or len(ids) != len(values or ()) or len(ids) > most:
        raise Unprocessable(
            name,
            gettext("The field “%(name)s” must be an array of 1 to %(max)s ids.")
            % {"name": name, "max": most},
        )
    return list(dict.fromkeys(ids))


def recipients_of(data: dict[str, Any], user: User) -> list[str] | None:
    """The addresses that `recipient_ids` names; None where it names none. Raises Unprocessable."""
    values = data.get("recipient_ids")
    if values is None or values == []:
        return None
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise Unprocessable("recipient_ids", gettext("“recipient_ids” must be an array of ids."))
    rows = EmailAddress.objects.filter(user=user, verified=True)
    mine = {str(public_id("recipient", row.pk)): row.email for row in rows}
    if any(value.lower() not in mine for value in values):
        raise Unprocessable(
            "recipient_ids",
            gettext(
                "A destination is not one of your verified addresses. Verify it first, on the page Addresses."
            ),
        )
    return [mine[value.lower()] for value in values]
