"""What a token may do, for pages, API, admin, commands and files."""

from collections.abc import Iterable
from enum import IntFlag

from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from core.exceptions import RuleError


class InvalidScopes(RuleError, code="scopes_invalid"):
    """A token would have no right at all, or one that does not exist."""


class Scope(IntFlag):
    """A token's rights. Their sum is stored, so values never change."""

    CREATE = 1
    MANAGE = 2
    ACTIVITY = 4
    SEND = 8

    @property
    def words(self) -> list[str]:
        """The rights by the names that commands and files use: `create`, `manage`, `activity`, `send`."""
        return [str(scope.name).lower() for scope in Scope if scope in self]

    @property
    def labels(self) -> list[str]:
        """The rights by the names that pages use."""
        return [str(LABELS[scope]) for scope in Scope if scope in self]


# For calls that every token may make: whom it belongs to, and its own end.
ANY_TOKEN = Scope(0)
# What the calls of the API need: apps get this much. Mail is sent through the submission door.
EVERY_CALL = Scope.CREATE | Scope.MANAGE | Scope.ACTIVITY
EVERYTHING = EVERY_CALL | Scope.SEND

LABELS: dict[Scope, Promise] = {
    Scope.CREATE: _("Create and list"),
    Scope.MANAGE: _("Manage"),
    Scope.ACTIVITY: _("Read mail activity"),
    Scope.SEND: _("Send mail"),
}
SENTENCES: dict[Scope, Promise] = {
    Scope.CREATE: _(
        "Create aliases, and read them, your domains and your addresses. Bitwarden needs no more."
    ),
    Scope.MANAGE: _(
        "Change, switch, delete and export aliases, change settings, and add and remove destinations."
    ),
    Scope.ACTIVITY: _("Read who wrote to an alias and when, mail counts, and notifications."),
    Scope.SEND: _("Send mail from your aliases with a mail program, which uses the token as its password."),
}


def scopes_of(words: Iterable[str]) -> Scope:
    """The rights with these names. Raises InvalidScopes."""
    found = ANY_TOKEN
    for word in words:
        try:
            found |= Scope[word.upper()]
        except KeyError as error:
            raise InvalidScopes(
                gettext("“%(word)s” is not a right of a token. The rights are: %(words)s.")
                % {"word": word[:60], "words": ", ".join(EVERYTHING.words)}
            ) from error
    return check_scopes(found)


def check_scopes(scopes: int) -> Scope:
    """The same rights, if there is at least one and all of them exist. Raises InvalidScopes."""
    if not scopes or scopes & ~EVERYTHING.value:
        raise InvalidScopes(gettext("Choose at least one right for the token."))
    return Scope(scopes)
