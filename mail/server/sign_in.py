"""Who signs in at the submission door, and from which of their aliases they may send."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings

from accounts.models import User
from aliases.models import Alias, AliasQuerySet
from core.client_address import network_of
from core.exceptions import RateLimited
from mail.delivery.gatherer import Gatherer
from tokens.credentials import KEY_SHAPE, Credentials, count_wrong_key, find_token
from tokens.models import Token
from tokens.scopes import Scope

# One sentence for every reason: it must not reveal which part was wrong.
WRONG = "535 5.7.8 Wrong e-mail address or token"
TOO_MANY_WRONG = "454 4.7.0 Too many wrong attempts, try again later"
NO_RIGHT = '535 5.7.8 This token lacks the right "Send mail". Make one that has it at {site}'
NO_LONGER = "530 5.7.0 The token no longer works: sign in with another one"
NOT_THEIR_ALIAS = "553 5.7.1 The sender must be one of your aliases, and enabled"


@dataclass(frozen=True)
class Person:
    """Who has signed in."""

    user_id: int
    token_id: int


@dataclass(frozen=True)
class SignIn:
    """A try to sign in; `client` is an IP address, or another word for a UNIX socket's."""

    name: str
    password: str
    client: str

    def answer(self) -> Person | str:
        """Who it is, or the reply that refuses it."""
        # The page shows a token as <e-mail>:<token>, and people copy it whole.
        secret = self.password.rpartition(":")[2]
        token = self._token(secret) if self.name and re.fullmatch(KEY_SHAPE, secret) else None
        if token is None or not token.accepts(self.client):
            try:
                count_wrong_key(network_of(self.client), self.name[:400])
            except RateLimited:
                return TOO_MANY_WRONG
            return WRONG
        if Scope.SEND not in token.rights:
            return NO_RIGHT.format(site=settings.SITE_URL)
        token.note_use()
        return Person(token.owner_id, token.pk)

    def _token(self, secret: str) -> Token | None:
        if token := find_token(Credentials(self.name, secret)):
            return token
        # A mail program that is set up for an alias offers it as the name.
        token = find_token(Credentials("", secret))
        return token if token and _aliases_of(token.owner).holding(self.name).exists() else None


@dataclass(frozen=True)
class SenderOf:
    """Which alias somebody who has signed in wants to send from."""

    person: Person
    client: str
    address: str

    def answer(self) -> Alias | str:
        """The alias, or the reply that refuses it."""
        token = Token.objects.select_related("owner").filter(pk=self.person.token_id).first()
        # A connection may be kept for long: a token that was revoked meanwhile ends with the next message.
        if token is None or not token.accepts(self.client) or Scope.SEND not in token.rights:
            return NO_LONGER
        alias = _aliases_of(token.owner).receiving().holding(self.address).first()
        return NOT_THEIR_ALIAS if alias is None else alias


def _aliases_of(user: User) -> AliasQuerySet:
    return Alias.objects.owned_by(user).present()


def _answer_all(questions: Sequence[SignIn | SenderOf]) -> list[Person | Alias | str]:
    return [question.answer() for question in questions]


class SignIns(Gatherer[SignIn | SenderOf, Person | Alias | str]):
    """Answers these in an event loop, from a thread with a database connection of its own; raises as
    mail.delivery.lookups.Lookups does."""

    def __init__(self) -> None:
        super().__init__("sign-ins", _answer_all)
