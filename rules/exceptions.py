"""Refusals about rules."""

from core.exceptions import RuleError


class InvalidRule(RuleError, code="rule_invalid"):
    """A rule cannot be as it is written. `part` names what is wrong: `name`, `conditions`, `conditions.1`
    (the second one), `subject`, `destinations` or `actions`; `is_about_header`: the name of a header field in
    that condition."""

    def __init__(self, message: str, part: str, *, is_about_header: bool = False) -> None:
        super().__init__(message)
        self.part = part
        self.is_about_header = is_about_header


class TooManyRules(RuleError, code="rule_limit_reached", status=403):
    """A person has as many rules as one may have."""
