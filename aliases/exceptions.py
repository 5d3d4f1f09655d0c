"""Refusals by the rules for aliases, with their codes and HTTP statuses."""

from core.exceptions import RuleError


class DomainNotFound(RuleError):
    """There is no such domain with Anonmail on."""

    code = "domain_not_found"
    status = 404


class DomainForbidden(RuleError):
    """The domain exists, but this user cannot create aliases on it."""

    code = "domain_forbidden"
    status = 403


class NoUsableDomain(RuleError):
    """There is no domain on which this user can create aliases."""

    code = "no_usable_domain"
    status = 403


class NotAnAddress(RuleError):
    """A destination is not a valid e-mail address."""

    code = "destination_invalid"


class DestinationForbidden(RuleError):
    """A destination is not one of the owner's verified addresses."""

    code = "destination_forbidden"
    status = 403


class QuotaReached(RuleError):
    """The user has reached the domain's quota of aliases."""

    code = "alias_quota_reached"
    status = 403


class AddressTaken(RuleError):
    """The address was given out before or belongs to someone."""

    code = "address_taken"
    status = 409


class InvalidValue(RuleError):
    """A note, name or local part breaks its rule."""

    code = "invalid_value"


class NotRestorable(RuleError):
    """The alias is not deleted, or it is too late to restore it."""

    code = "not_restorable"
    status = 409
