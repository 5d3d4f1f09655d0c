"""What calls about rules take, in addy.io's words; what has none here is refused."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from allauth.account.models import EmailAddress
from django.utils.translation import gettext
from drf_spectacular.utils import extend_schema_field
from rest_framework.exceptions import ValidationError

from accounts.models import User
from api import inputs
from api.addy.ids import public_ids
from api.addy.inputs import EXAMPLE_ID, IdField, Input, RequiredTextField, parse_id
from api.addy.rule_objects import EXAMPLE_ACTIONS, EXAMPLE_CONDITION, MATCHES, TYPES
from api.errors import Unprocessable
from rules.conditions import CONDITIONS_MAX, VALUES_MAX, Condition, clean_condition
from rules.exceptions import InvalidRule
from rules.keeping import RuleContent
from rules.models import DESTINATIONS_MAX, RULES_MAX

_OF = {word: of for of, word in TYPES.items()}
_MATCH = {word: match for match, word in MATCHES.items()}
# The last one is not addy.io's.
ACTIONS = ("subject", "block", "forwardTo", "disable")
NOT_HERE = ("displayFrom", "encryption", "banner", "quarantine", "removeAttachments", "webhook")
ACTIONS_MAX = DESTINATIONS_MAX + 3


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
    conditions = ConditionsField(initial=[{k: v for k, v in EXAMPLE_CONDITION.items() if v}])
    actions = ActionsField(initial=EXAMPLE_ACTIONS)
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


def content(fields: dict[str, Any], owner: User) -> RuleContent:
    """What the fields of a request say of a rule of `owner`. Raises Unprocessable, InvalidRule."""
    data = RuleInput.read(fields)
    for field in ("replies", "sends"):
        if data[field]:
            sentence = gettext("Rules on this server are for mail that is forwarded, and for no other.")
            raise Unprocessable(field, sentence)
    if not data["forwards"]:
        raise Unprocessable(
            "forwards", gettext("“forwards” must be true: rules are for mail that is forwarded.")
        )
    addresses = EmailAddress.objects.filter(user=owner, verified=True)
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
