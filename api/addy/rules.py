"""addy.io's calls about rules, in its words for conditions and actions; what has none here is refused."""

from collections.abc import Iterator
from typing import Any, TypedDict
from uuid import UUID

from allauth.account.models import EmailAddress
from django.utils.translation import gettext
from drf_spectacular.utils import extend_schema_field
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from accounts.models import User
from api import inputs
from api.addy.ids import public_id, public_ids
from api.addy.inputs import EXAMPLE_ID, EXAMPLE_RECIPIENT_ID, IdField, Input, RequiredTextField, parse_id
from api.addy.objects import SINCE, example_user, stamp, stamp_or_null
from api.addy.schema import AddyCall
from api.answers import Answer
from api.errors import NotFound, Unprocessable
from api.schema import EXAMPLES
from api.views import ApiView
from rules.conditions import CONDITIONS_MAX, VALUES_MAX, Condition, Match, Of, clean_condition
from rules.exceptions import InvalidRule
from rules.keeping import RuleContent, change_rule, make_rule, order_rules
from rules.models import DESTINATIONS_MAX, RULES_MAX, Rule
from tokens.scopes import Scope

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
_OF = {word: of for of, word in TYPES.items()}
_MATCH = {word: match for match, word in MATCHES.items()}
# The last one is not addy.io's.
ACTIONS = ("subject", "block", "forwardTo", "disable")
NOT_HERE = ("displayFrom", "encryption", "banner", "quarantine", "removeAttachments", "webhook")
ACTIONS_MAX = DESTINATIONS_MAX + 3


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


def _actions(rule: Rule) -> Iterator[ActionObject]:
    if rule.subject:
        yield {"type": "subject", "value": rule.subject}
    if rule.blocks:
        yield {"type": "block", "value": True}
    if rule.disables:
        yield {"type": "disable", "value": True}
    for address in rule.destinations if rule.forwards else ():
        yield {"type": "forwardTo", "value": str(public_id("recipient", address.pk))}


_EXAMPLE_CONDITION: ConditionObject = {
    "type": "subject",
    "match": "contains",
    "values": ["newsletter"],
    "header": None,
}
_EXAMPLE_ACTIONS: list[ActionObject] = [
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
    return {**rule_object(rule, example_user(), activity=True), "actions": _EXAMPLE_ACTIONS}


EXAMPLES[RuleObject] = _example


class _ObjectsField(inputs.OptionalField):
    """The objects in an array of one to so many."""

    most: int

    def run_validation(self, data: Any = None) -> list[dict[str, Any]]:
        is_objects = isinstance(data, list) and all(isinstance(each, dict) for each in data)
        if not is_objects or not 1 <= len(data) <= self.most:
            values = {"name": self.field_name, "max": self.most}
            raise ValidationError(
                gettext("The field “%(name)s” must be an array of 1 to %(max)s objects.") % values
            )
        return list(data)


@extend_schema_field(
    {
        "type": "array",
        "minItems": 1,
        "maxItems": CONDITIONS_MAX,
        "items": {
            "type": "object",
            "properties": {
                "type": {"type": "string", "enum": list(_OF)},
                "match": {"type": "string", "enum": list(_MATCH)},
                "values": {
                    "type": "array",
                    "items": {"type": "string"},
                    "minItems": 1,
                    "maxItems": VALUES_MAX,
                },
                "header": {"type": "string", "nullable": True},
            },
            "required": ["type", "match", "values"],
        },
    }
)
class ConditionsField(_ObjectsField):
    most = CONDITIONS_MAX


@extend_schema_field(
    {
        "type": "array",
        "minItems": 1,
        "maxItems": ACTIONS_MAX,
        "items": {
            "type": "object",
            "properties": {
                "type": {"type": "string", "enum": list(ACTIONS)},
                "value": {"oneOf": [{"type": "string"}, {"type": "boolean"}]},
            },
            "required": ["type", "value"],
        },
    }
)
class ActionsField(_ObjectsField):
    most = ACTIONS_MAX


class OperatorField(RequiredTextField):
    """AND or OR."""

    def run_validation(self, data: Any = None) -> str:
        operator: str = super().run_validation(data)
        if operator not in {"AND", "OR"}:
            raise ValidationError(gettext("“operator” must be AND or OR."))
        return operator


class RuleInput(Input):
    name = RequiredTextField(initial="News")
    conditions = ConditionsField(initial=[{k: v for k, v in _EXAMPLE_CONDITION.items() if v}])
    actions = ActionsField(initial=_EXAMPLE_ACTIONS)
    operator = OperatorField(initial="AND")
    forwards = inputs.FlagField(default=False, initial=True)
    replies = inputs.FlagField(default=False)
    sends = inputs.FlagField(default=False)


class RuleId(Input):
    id = IdField(initial=EXAMPLE_ID)


@extend_schema_field(
    {
        "type": "array",
        "items": {"type": "string", "format": "uuid"},
        "minItems": 1,
        "maxItems": RULES_MAX,
    }
)
class RuleIdsField(inputs.OptionalField):
    """The ids in an array; None for what is none."""

    def run_validation(self, data: Any = None) -> list[UUID | None]:
        if not isinstance(data, list) or not 1 <= len(data) <= RULES_MAX:
            values = {"name": self.field_name, "max": RULES_MAX}
            raise ValidationError(
                gettext("The field “%(name)s” must be an array of 1 to %(max)s ids.") % values
            )
        return [parse_id(value) for value in data]


class RuleIds(Input):
    ids = RuleIdsField(initial=[EXAMPLE_ID])


def _conditions(written: list[dict[str, Any]]) -> Iterator[Condition]:
    for number, one in enumerate(written):
        field = f"conditions.{number}"
        for key, known in (("type", _OF), ("match", _MATCH)):
            if not isinstance(one.get(key), str) or one[key] not in known:
                values = {"name": key, "choices": ", ".join(known)}
                sentence = gettext("“%(name)s” must be one of: %(choices)s.") % values
                raise Unprocessable(f"{field}.{key}", sentence)
        wanted, header = one.get("values"), one.get("header") or ""
        if not isinstance(wanted, list) or not all(isinstance(value, str) for value in wanted):
            raise Unprocessable(f"{field}.values", gettext("“values” must be an array of texts."))
        if not isinstance(header, str):
            raise Unprocessable(f"{field}.header", gettext("The field “header” must be a string."))
        yield clean_condition(_OF[one["type"]], _MATCH[one["match"]], wanted, header, field)


class _Actions:
    """What the actions in a request want."""

    def __init__(self, written: list[dict[str, Any]], own: dict[UUID, EmailAddress]) -> None:
        self.subject, self.blocks, self.disables = "", False, False
        self.destinations: list[EmailAddress] = []
        seen: set[str] = set()
        for number, one in enumerate(written):
            kind, field = one.get("type"), f"actions.{number}"
            if isinstance(kind, str) and kind in NOT_HERE:
                sentence = gettext("Rules on this server do not have the action “%(name)s”.")
                raise Unprocessable(f"{field}.type", sentence % {"name": kind})
            if not isinstance(kind, str) or kind not in ACTIONS:
                choices = {"name": "type", "choices": ", ".join(ACTIONS)}
                raise Unprocessable(
                    f"{field}.type", gettext("“%(name)s” must be one of: %(choices)s.") % choices
                )
            if kind in seen and kind != "forwardTo":
                raise Unprocessable(
                    f"{field}.type", gettext("The action “%(name)s” is there twice.") % {"name": kind}
                )
            seen.add(kind)
            self._take(kind, one.get("value"), f"{field}.value", own)

    def _take(self, kind: str, value: object, field: str, own: dict[UUID, EmailAddress]) -> None:
        match kind:
            case "subject":
                if not isinstance(value, str) or not value.strip():
                    raise Unprocessable(field, gettext("The field “value” must be a string."))
                self.subject = value
            case "forwardTo":
                key = parse_id(value)
                if key is None or key not in own:
                    raise Unprocessable(
                        field, gettext("A destination is not one of your verified addresses.")
                    )
                self.destinations.append(own[key])
            case _:
                # Some of addy.io's clients send these as texts.
                if value not in (True, "true", "1", 1):
                    raise Unprocessable(field, gettext("The field “value” must be true."))
                if kind == "block":
                    self.blocks = True
                else:
                    self.disables = True


class RuleView(ApiView):
    scope = Scope.MANAGE

    def mine(self) -> list[Rule]:
        return list(Rule.objects.owned_by(self.caller).in_order())

    def rule(self, uuid: UUID | None) -> Rule:
        """The caller's rule of this id. Raises NotFound."""
        for rule in self.mine():
            if uuid in public_ids("rule", rule.pk):
                return rule
        raise NotFound(gettext("There is no such rule."))

    def shown(self, rule: Rule) -> RuleObject:
        return rule_object(rule, self.caller, activity=self.shows_activity)

    def shown_anew(self, key: int, status: int = 200) -> Answer:
        """The caller's rule of this key, as it is now."""
        return Answer({"data": self.shown(Rule.objects.in_order().get(pk=key))}, status=status)

    def content(self) -> RuleContent:
        """What the request's body says of a rule. Raises Unprocessable, InvalidRule."""
        data = RuleInput.read(self.fields)
        for field in ("replies", "sends"):
            if data[field]:
                sentence = gettext("Rules on this server are for mail that is forwarded, and for no other.")
                raise Unprocessable(field, sentence)
        if not data["forwards"]:
            raise Unprocessable(
                "forwards", gettext("“forwards” must be true: rules are for mail that is forwarded.")
            )
        addresses = EmailAddress.objects.filter(user=self.caller, verified=True)
        own = {key: row for row in addresses for key in public_ids("recipient", row.pk)}
        actions = _Actions(data["actions"], own)
        return RuleContent(
            name=data["name"],
            conditions=list(_conditions(data["conditions"])),
            needs_all=data["operator"] == "AND",
            blocks=actions.blocks,
            disables=actions.disables,
            destinations=actions.destinations,
            subject=actions.subject,
        )


def unprocessable(error: InvalidRule) -> Unprocessable:
    """A rule's refusal by the name of addy.io's field."""
    part, _dot, number = error.part.partition(".")
    if number:
        return Unprocessable(f"conditions.{number}.{'header' if error.is_about_header else 'values'}", error)
    return Unprocessable(part if part in {"name", "conditions"} else "actions", error)


class Rules(RuleView):
    @AddyCall("Your rules, in their order", {"data": list[RuleObject]})
    def get(self, request: Request) -> Answer:
        return Answer({"data": [self.shown(rule) for rule in self.mine()]})

    @AddyCall("Make a rule, after all others", {"data": RuleObject}, 201, takes=RuleInput, refuses=(422,))
    def post(self, request: Request) -> Answer:
        try:
            made = make_rule(self.caller, self.content())
        except InvalidRule as error:
            raise unprocessable(error) from error
        return self.shown_anew(made.pk, 201)


class OneRule(RuleView):
    @AddyCall("One of your rules", {"data": RuleObject})
    def get(self, request: Request, uuid: UUID) -> Answer:
        return Answer({"data": self.shown(self.rule(uuid))})

    @AddyCall("Write a rule anew", {"data": RuleObject}, takes=RuleInput, refuses=(422,))
    def patch(self, request: Request, uuid: UUID) -> Answer:
        rule = self.rule(uuid)
        try:
            change_rule(rule, self.content())
        except InvalidRule as error:
            raise unprocessable(error) from error
        return self.shown_anew(rule.pk)

    @AddyCall("Delete a rule", status=204)
    def delete(self, request: Request, uuid: UUID) -> Answer:
        self.rule(uuid).delete()
        return Answer(status=204)


class ReorderedRules(RuleView):
    @AddyCall(
        "Put rules into this order; those that are not named come after them",
        {"data": list[RuleObject]},
        takes=RuleIds,
        refuses=(422,),
    )
    def post(self, request: Request) -> Answer:
        ids = RuleIds.read(self.fields)["ids"]
        own: dict[UUID | None, int] = {
            key: rule.pk for rule in self.mine() for key in public_ids("rule", rule.pk)
        }
        if unknown := [uuid for uuid in ids if uuid not in own]:
            raise Unprocessable(f"ids.{ids.index(unknown[0])}", gettext("There is no such rule."))
        order_rules(self.caller, [own[uuid] for uuid in ids])
        return Answer({"data": [self.shown(rule) for rule in self.mine()]})


class ActiveRules(RuleView):
    @AddyCall("Switch a rule on", {"data": RuleObject}, takes=RuleId, refuses=(404, 422))
    def post(self, request: Request) -> Answer:
        rule = self.rule(RuleId.read(self.fields)["id"])
        rule.switch(on=True)
        return Answer({"data": self.shown(rule)})


class ActiveRule(RuleView):
    @AddyCall("Switch a rule off", status=204)
    def delete(self, request: Request, uuid: UUID) -> Answer:
        self.rule(uuid).switch(on=False)
        return Answer(status=204)
