"""What SimpleLogin's clients send."""

from typing import Any

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from aliases.validation import DESTINATIONS_MAX
from api.errors import BadInput
from api.inputs import Input, TextField

WRONG_MAILBOX = _("Errors with Mailbox: it is not one of your verified addresses.")


class TextsField(TextField):
    """A text, or an array of texts, as an array."""

    def to_internal_value(self, data: Any) -> Any:
        values = data if isinstance(data, list) else [data]
        if not all(isinstance(text, str) for text in values):
            raise BadInput(
                gettext("The field “%(name)s” must be a text or an array of texts.")
                % {"name": self.field_name}
            )
        return values


class NewRandomAlias(Input):
    note = TextField(initial="work")
    domain = TextField()
    hostname = TextField(initial="www.github.com")
    destination = TextsField()


def text_field(data: dict[str, Any], name: str) -> str | None:
    """The text in a body's field; None where it is missing or null. Raises BadInput for other types."""
    value = data.get(name)
    if value is not None and not isinstance(value, str):
        raise BadInput(gettext("The field “%(name)s” must be a text.") % {"name": name})
    return value


def flag_field(data: dict[str, Any], name: str) -> bool | None:
    """The truth value in a body's field; None where it is missing. Raises BadInput for other types."""
    value = data.get(name)
    if value is not None and not isinstance(value, bool):
        raise BadInput(gettext("The field “%(name)s” must be true or false.") % {"name": name})
    return value


def keys_field(data: dict[str, Any], name: str) -> list[int]:
    """The mailbox ids in a body's field. Raises BadInput where there is none, or one that is no id."""
    keys = data.get(name)
    if not isinstance(keys, list) or not keys:
        raise BadInput(gettext("Must choose at least one mailbox."))
    if len(keys) > DESTINATIONS_MAX:
        # A statement has no room for as many parameters as a body has for ids.
        raise BadInput(gettext("An alias has at most %(max)s destinations.") % {"max": DESTINATIONS_MAX})
    return [_key(key) for key in keys]


def _key(value: Any) -> int:
    # simplelogincmd sends ids as the text that somebody typed.
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**63:
        raise BadInput(WRONG_MAILBOX)
    return value
