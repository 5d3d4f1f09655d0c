"""Refusals by the rules for aliases, with their codes and HTTP statuses."""

from core.exceptions import RuleError


class DomainNotFound(RuleError, code="domain_not_found", status=404):
    """There is no such domain with Anonmail on."""


class DomainForbidden(RuleError, code="domain_forbidden", status=403):
    """The domain exists, but this user cannot create aliases on it."""


class NoUsableDomain(RuleError, code="no_usable_domain", status=403):
    """There is no domain on which this user can create aliases."""


class NotAnAddress(RuleError, code="destination_invalid"):
    """A destination is not a valid e-mail address."""


class DestinationForbidden(RuleError, code="destination_forbidden", status=403):
    """A destination is not one of the owner's verified addresses."""


class QuotaReached(RuleError, code="alias_quota_reached", status=403):
    """The user has reached the domain's quota of aliases."""


class AddressTaken(RuleError, code="address_taken", status=409):
    """The address was given out before or belongs to someone."""


class InvalidValue(RuleError, code="invalid_value"):
    """A note, name or local part breaks its rule."""


class NotRestorable(RuleError, code="not_restorable", status=409):
    """The alias is not deleted, or it is too late to restore it."""
