"""Refusals by the rules for contacts, with their codes and HTTP statuses."""

from core.exceptions import RuleError


class NotACorrespondent(RuleError, code="contact_invalid"):
    """Nobody outside can be reached at this address, or it is not valid."""
