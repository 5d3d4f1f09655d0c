"""Why somebody whom a source vouched for does not get in."""

from core.exceptions import RuleError


class ArrivalRefused(RuleError, code="arrival_refused", status=403):
    """Somebody came from a source, and gets no account here."""


class AddressMissing(ArrivalRefused, code="address_missing"):
    """The source named no address, or one that is not valid."""


class AddressUnverified(ArrivalRefused, code="address_unverified"):
    """The source does not say that the address is the person's."""


class AddressUnusable(ArrivalRefused, code="address_unusable"):
    """The address is an alias, or somebody else's further address."""


class AccountExists(ArrivalRefused, code="account_exists"):
    """There is an account with the address, and the source has no say about that."""


class NoNewPeople(ArrivalRefused, code="no_new_people"):
    """The source brings no new people with such an address."""


class IdentityTaken(RuleError, code="identity_taken", status=409):
    """Another account here is connected with this identity."""


class LastWayIn(RuleError, code="last_way_in", status=409):
    """Without this identity, its user could not sign in any more."""


class ProviderFailed(RuleError, code="provider_failed", status=502):
    """The provider does not answer, or not as it should."""


class NotProven(RuleError, code="not_proven", status=403):
    """What the browser brought from the provider proves nothing: forged, too old, used, or another's."""
