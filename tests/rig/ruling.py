"""Rules as tests write them."""

from typing import Any

from accounts.models import User
from rules.conditions import Condition, clean_condition
from rules.keeping import RuleContent, make_rule
from rules.models import Rule


def condition(of: str, match: str, *values: str, header: str = "") -> Condition:
    return clean_condition(of, match, values, header, "conditions.0")


SPAM = condition("subject", "contains", "spam")


def rule(owner: User, *conditions: Condition, name: str = "Rule", **does: Any) -> Rule:
    """A rule of the owner's; for any subject with "spam", unless it says otherwise."""
    return make_rule(owner, RuleContent(name=name, conditions=conditions or (SPAM,), **does))
