"""Refusals about web hooks."""

from core.exceptions import RuleError


class InvalidHook(RuleError, code="hook_invalid"):
    """The URL or the events of a hook are not acceptable."""


class TooManyHooks(RuleError, code="hook_limit_reached", status=403):
    """A person has as many hooks as one may have."""


class HookStopped(RuleError, code="hook_stopped", status=409):
    """Nothing is sent to a hook that has been stopped."""


class TooManyWaiting(RuleError, code="hook_queue_full", status=409):
    """As many messages wait for the hook as may wait."""
