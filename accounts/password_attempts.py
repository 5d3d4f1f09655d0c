"""How often a password may be tried: so seldom that guessing leads nowhere, and nobody shuts out another.

Wrong passwords are counted for a client and an account together. A stranger elsewhere uses up nothing of
the owner's; what many clients try at one account makes each of them slower, and never shuts the account.
"""

from datetime import timedelta

from django.db import transaction
from django.http import HttpRequest

from core.addresses import address_or_none
from core.client_address import client_network, neighbourhood_of
from core.ratelimit import Counter, Limit, count_within

Pair = tuple[Limit, object]

HOUR = timedelta(hours=1)
# The scopes are numbered as a try counts them, so that all lock rows in one order: no deadlocks.
# From one client, whatever the account.
OF_CLIENT = Limit("signin-1-client", 10, timedelta(minutes=1))
# From one client for one account.
OF_BOTH = Limit("signin-2-both", 5, timedelta(minutes=5))
OF_BOTH_DAILY = Limit("signin-3-both-day", 50, timedelta(days=1))
# For one account from everywhere. Past it, each neighbourhood has one try an hour.
OF_ACCOUNT = Limit("signin-4-account", 100, HOUR)
OF_NEIGHBOURHOOD = Limit("signin-5-slow", 1, HOUR)


class Try:
    """One try to sign in with a password, counted before the password is looked at."""

    def __init__(self, request: HttpRequest, account: str) -> None:
        account = address_or_none(account) or account.strip().lower()[:400]
        client = client_network(request)
        neighbourhood = neighbourhood_of(request.META.get("REMOTE_ADDR", ""))
        both = f"{client} {account}"
        self._own: list[Pair] = [(OF_CLIENT, client), (OF_BOTH, both), (OF_BOTH_DAILY, both)]
        self._of_account: Pair = (OF_ACCOUNT, account)
        self._slow: Pair = (OF_NEIGHBOURHOOD, f"{neighbourhood} {account}")
        self._counted: list[Pair] = []

    @transaction.atomic
    def begin(self) -> bool:
        """Count it. False: too many before it, so the password must not be looked at.

        What is over one limit counts for none of those behind it: whoever goes on against a limit for
        minutes does not run into the one for a day, nor makes the account slow.
        """
        if any(self._is_over(pair) for pair in self._own):
            return False
        return not (self._is_over(self._of_account) and self._is_over(self._slow))

    def _is_over(self, pair: Pair) -> bool:
        self._counted.append(pair)
        return not count_within(*pair)

    def give_back(self) -> None:
        """The password was right: nothing was tried."""
        Counter.objects.give_back(*self._counted)

    def forget(self) -> None:
        """Whoever asks has shown to own the account: earlier tries from this client count no longer."""
        Counter.objects.forget(*self._own[1:], self._slow)
