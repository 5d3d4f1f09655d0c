"""Refusals. Pages, API, commands and admin each turn them into their own kind of answer."""


class RuleError(Exception):
    """A business rule does not allow something. `str(error)` is a sentence for the person who asked.

    `code` names the rule and never changes; `status` is the HTTP status of the answer. A subclass gives
    them with its name.
    """

    code: str
    status = 400

    def __init_subclass__(cls, *, code: str = "", status: int = 0) -> None:
        if code:
            cls.code = code
        if status:
            cls.status = status


class RateLimited(RuleError, code="rate_limited", status=429):
    """Too many of something in a period. `retry_after` is whole seconds, at least 1."""

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after
