"""Refusals. Pages, API, commands and admin each turn them into their own kind of answer."""


class RuleError(Exception):
    """A business rule does not allow something. `str(error)` is a sentence for the person who asked.

    `code` names the rule and never changes; `status` is the HTTP status of the answer.
    """

    code: str
    status = 400


class RateLimited(RuleError):
    """Too many of something in a period. `retry_after` is whole seconds, at least 1."""

    code = "rate_limited"
    status = 429

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after
