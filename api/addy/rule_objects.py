"""Rules as addy.io shows them, in its words for conditions and actions."""

from collections.abc import Iterator
from typing import TypedDict
from uuid import UUID

from accounts.models import User
from api.addy.ids import public_id
from api.addy.inputs import EXAMPLE_RECIPIENT_ID
from api.addy.objects import SINCE, example_user, stamp, stamp_or_null
from api.schema import EXAMPLES
from rules.conditions import Condition, Match, Of
from rules.models import Rule

TYPES = {
    Of.SENDER: "sender",
    Of.SUBJECT: "subject",
    Of.ALIAS: "alias",
    Of.NOTE: "alias_description",
    Of.HEADER: "header",  # not addy.io's
}
MATCHES = {
    Match.IS: "is exactly",
    Match.IS_NOT: "is not",
    Match.CONTAINS: "contains",
    Match.CONTAINS_NOT: "does not contain",
    Match.STARTS: "starts with",
    Match.STARTS_NOT: "does not start with",
    Match.ENDS: "ends with",
    Match.ENDS_NOT: "does not end with",
    Match.MATCHES: "matches regex",
    Match.MATCHES_NOT: "does not match regex",
}


class ConditionObject(TypedDict):
    type: str
    match: str
    values: list[str]
    header: str | None


class ActionObject(TypedDict):
    type: str
    value: str | bool


class RuleObject(TypedDict):
    id: UUID
    user_id: UUID
    name: str
    order: int
    conditions: list[ConditionObject]
    actions: list[ActionObject]
    operator: str
    forwards: bool
    replies: bool
    sends: bool
    active: bool
    applied: int
    last_applied: str | None
    created_at: str
    updated_at: str


def rule_object(rule: Rule, owner: User, *, activity: bool) -> RuleObject:
    """A rule with its destinations; without `activity`, which the token may not read, as never applied."""
    return {
        "id": public_id("rule", rule.pk),
        "user_id": public_id("user", owner.pk),
        "name": rule.name,
        "order": rule.place,
        "conditions": [
            {
                "type": TYPES[condition.of],
                "match": MATCHES[condition.match],
                "values": list(condition.values),
                "header": condition.header or None,
            }
            for condition in rule.condition_list
        ],
        "actions": list(_actions(rule)),
        "operator": "AND" if rule.needs_all else "OR",
        # Rules are for what is forwarded.
        "forwards": True,
        "replies": False,
        "sends": False,
        "active": rule.is_on,
        "applied": rule.applied if activity else 0,
        "last_applied": stamp_or_null(rule.applied_at) if activity else None,
        "created_at": stamp(rule.created),
        "updated_at": stamp(rule.changed),
    }


# What the apps stop at, because they know no name for it.
_UNKNOWN_TO_APPS = {"header", "disable"}


def can_be_shown(rule: Rule) -> bool:
    """Whether addy.io's apps can show the rule: they know its words, and expect an action."""
    words = {TYPES[condition.of] for condition in rule.condition_list}
    actions = {action["type"] for action in _actions(rule)}
    return bool(actions) and not (words | actions) & _UNKNOWN_TO_APPS


def _actions(rule: Rule) -> Iterator[ActionObject]:
    if rule.subject:
        yield {"type": "subject", "value": rule.subject}
    if rule.blocks:
        yield {"type": "block", "value": True}
    if rule.disables:
        yield {"type": "disable", "value": True}
    for address in rule.destinations if rule.forwards else ():
        yield {"type": "forwardTo", "value": str(public_id("recipient", address.pk))}


EXAMPLE_CONDITION: ConditionObject = {
    "type": "subject",
    "match": "contains",
    "values": ["newsletter"],
    "header": None,
}
EXAMPLE_ACTIONS: list[ActionObject] = [
    {"type": "subject", "value": "[News] {{subject}}"},
    {"type": "forwardTo", "value": EXAMPLE_RECIPIENT_ID},
]


def _example() -> RuleObject:
    condition = Condition(Of.SUBJECT, Match.CONTAINS, ("newsletter",))
    rule = Rule(
        pk=1,
        name="News",
        conditions=[condition.as_json()],
        subject="[News] {{subject}}",
        created=SINCE,
        changed=SINCE,
    )
    return {**rule_object(rule, example_user(), activity=True), "actions": EXAMPLE_ACTIONS}


EXAMPLES[RuleObject] = _example
