"""What the rules about aliases refuse, each with its code and HTTP status."""

from core.exceptions import RuleError


class DomainNotFound(RuleError):
    """There is no such domain with Anonmail on."""

    code = "domain_not_found"
    status = 404


class DomainForbidden(RuleError):
    """The domain is there, but this user may not create on it."""

    code = "domain_forbidden"
    status = 403


class NoUsableDomain(RuleError):
    """There is no domain on which this user may create."""

    code = "no_usable_domain"
    status = 403


class NotAnAddress(RuleError):
    """A destination is no e-mail address."""

    code = "destination_invalid"
    status = 400


class DestinationForbidden(RuleError):
    """A destination is no verified address of the alias's owner."""

    code = "destination_forbidden"
    status = 403


class QuotaReached(RuleError):
    """The user has as many aliases on the domain as it allows."""

    code = "alias_quota_reached"
    status = 403


class AddressTaken(RuleError):
    """The address was given out before, or is somebody's own."""

    code = "address_taken"
    status = 409


class InvalidValue(RuleError):
    """A note, name or local part breaks its rule."""

    code = "invalid_value"
    status = 400


class NotRestorable(RuleError):
    """The alias is not deleted, or its time for restoring is over."""

    code = "not_restorable"
    status = 409
