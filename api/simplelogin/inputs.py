"""What SimpleLogin's clients send."""

from typing import Any, get_args

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework.exceptions import ValidationError

from aliases.validation import DESTINATIONS_MAX, clean_name
from api.errors import BadInput
from api.inputs import FlagField, Input, OptionalField, TextField
from api.query import PAGE_MAX, whole_number
from api.schema import query
from api.simplelogin.objects import Generator, RandomSuffix, SenderFormatWord
from contacts.book import MAILBOX_MAX_CHARACTERS

PREFIX_MAX = 40  # as SimpleLogin's
NO_MAILBOX = _("Must choose at least one mailbox.")
WRONG_MAILBOX = _("Errors with Mailbox: it is not one of your verified addresses.")

HOSTNAME = query("hostname", "The web site, in any form: a host, a URL, an app's identifier.")
PAGE_SCHEMA = {"type": "integer", "minimum": 0}
PAGE_ID = query("page_id", "The page, from 0, with twenty rows each.", required=True, schema=PAGE_SCHEMA)
PAGE = query("page", "The page, from 0.", schema=PAGE_SCHEMA)
FLAGS = [
    query(name, f"Only {name} aliases; its presence counts, whatever its value.")
    for name in ("pinned", "disabled", "enabled")
]


def page_number(query: dict[str, str], name: str, default: str = "") -> int:
    """The page asked for, from 0. Raises BadInput."""
    number = whole_number(query.get(name, default), PAGE_MAX)
    if number is None:
        raise BadInput(
            gettext("%(name)s must be provided in request query: a number from 0.") % {"name": name}
        )
    return number


class NotEmpty(Input):
    """A body that must have at least one key."""

    @classmethod
    def read(cls, data: dict[str, Any]) -> dict[str, Any]:
        if not data:
            raise ValidationError(gettext("The request's body must not be empty."))
        return super().read(data)


class TextsField(TextField):
    """A text, or an array of texts, as an array."""

    def to_internal_value(self, data: Any) -> Any:
        values = data if isinstance(data, list) else [data]
        if not all(isinstance(text, str) for text in values):
            raise ValidationError(
                gettext("The field “%(name)s” must be a string or an array of strings.")
                % {"name": self.field_name}
            )
        return values


class WordField(TextField):
    """One of the words of a Literal type."""

    def __init__(self, words: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.words = get_args(words)
        extend_schema_field({"type": "string", "enum": list(self.words)})(self)  # type: ignore[type-var]

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        if text not in self.words:
            raise ValidationError(
                gettext("Invalid %(name)s: it must be one of %(values)s.")
                % {"name": self.field_name, "values": ", ".join(self.words)}
            )
        return text


@extend_schema_field({"type": "integer"})
class KeyField(OptionalField):
    """A mailbox's id."""

    def to_internal_value(self, data: Any) -> int:
        # simplelogincmd sends ids as the text that somebody typed.
        if isinstance(data, str):
            data = whole_number(data, 2**63 - 1)
        if not isinstance(data, int) or isinstance(data, bool) or not 0 < data < 2**63:
            raise ValidationError(WRONG_MAILBOX)
        return data


@extend_schema_field({"type": "array", "items": {"type": "integer"}})
class KeysField(KeyField):
    """Ids of mailboxes, at least one."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, list) or not data:
            raise ValidationError(NO_MAILBOX)
        if len(data) > DESTINATIONS_MAX:
            # A statement has no room for as many parameters as a body has for ids.
            raise ValidationError(
                gettext("An alias has at most %(max)s destinations.") % {"max": DESTINATIONS_MAX}
            )
        return [super(KeysField, self).to_internal_value(key) for key in data]


class NewRandomAlias(Input):
    note = TextField(initial="work")
    domain = TextField()
    hostname = TextField(initial="www.github.com")
    destination = TextsField()


class ChosenName(NotEmpty):
    alias_prefix = TextField(initial="shop")
    signed_suffix = TextField(initial="one of GET /api/v5/alias/options")
    note = TextField(initial="work")
    name = TextField()

    def validate_alias_prefix(self, text: str | None) -> str:
        prefix = (text or "").strip().lower().replace(" ", "")
        if not 1 <= len(prefix) <= PREFIX_MAX:
            raise ValidationError(
                gettext("The alias prefix must have between 1 and %(max)s characters.") % {"max": PREFIX_MAX}
            )
        return prefix


class NewCustomAlias(ChosenName):
    mailbox_ids = KeysField(initial=[1])


class AliasSearch(Input):
    query = TextField(initial="github")


class AliasChanges(NotEmpty):
    """Of `note` and `name`, null empties the field and a missing one is left alone."""

    note = TextField(required=False, initial="work")
    name = TextField(required=False)
    pinned = FlagField(initial=True)
    disable_pgp = FlagField()
    mailbox_id = KeyField()
    mailbox_ids = KeysField()

    def validate_note(self, text: str | None) -> str:
        return text or ""

    validate_name = validate_note

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["mailbox_id"] and not attrs["mailbox_ids"]:
            attrs["mailbox_ids"] = [attrs["mailbox_id"]]
        return attrs


class NewContact(NotEmpty):
    contact = TextField(allow_null=False, required=True, initial="Bob <bob@elsewhere.example>")

    def validate_contact(self, text: str) -> str:
        if len(text) > MAILBOX_MAX_CHARACTERS:
            raise ValidationError(gettext("This is not a valid e-mail address."))
        return text


class NewMailbox(Input):
    email = TextField(initial="alice@elsewhere.example")


class MailboxChanges(Input):
    default = FlagField(initial=False)
    email = TextField()
    cancel_email_change = FlagField()


class TransferField(KeyField):
    """The mailbox that gets the aliases; -1 is none."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, str):
            raise ValidationError(WRONG_MAILBOX)
        return None if data == -1 else super().to_internal_value(data)


class RemovedMailbox(Input):
    transfer_aliases_to = TransferField()


class SettingChanges(Input):
    alias_generator = WordField(Generator, initial="word")
    notification = FlagField()
    random_alias_default_domain = TextField()
    sender_format = WordField(SenderFormatWord)
    random_alias_suffix = WordField(RandomSuffix, initial="word")


class DomainChanges(Input):
    catch_all = FlagField(initial=False)


class UserChanges(Input):
    name = TextField(required=False, initial="Alice")
    profile_picture = TextField()

    def validate_name(self, text: str | None) -> str:
        return clean_name(text or "")

    def validate_profile_picture(self, picture: str | None) -> None:
        if picture is not None:
            raise ValidationError(gettext("There are no profile pictures here."))


class Address(Input):
    email = TextField(initial="alice@example.com")


class AddressAndCode(Address):
    code = TextField(initial="123456")


class AddressAndPassword(Address):
    password = TextField(initial="…")


class Password(Input):
    password = TextField(initial="…")
