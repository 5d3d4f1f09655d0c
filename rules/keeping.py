"""Making, changing and ordering a person's rules."""

from collections.abc import Sequence
from dataclasses import dataclass

from allauth.account.models import EmailAddress
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext, ngettext

from accounts.models import User
from rules.conditions import CONDITIONS_MAX, Condition, has_controls
from rules.exceptions import InvalidRule, TooManyRules
from rules.models import (
    DESTINATIONS_MAX,
    NAME_MAX,
    OWN_SUBJECT,
    PATTERNS_MAX,
    RULES_MAX,
    SUBJECT_MAX,
    Rule,
    RuleDestination,
)


@dataclass(frozen=True)
class RuleContent:
    """A rule as its owner writes it.

    `destinations`: own addresses, to which it forwards; none if it does not. `stops`: None leaves that as
    it is.
    """

    name: str
    conditions: Sequence[Condition]
    needs_all: bool = True
    blocks: bool = False
    disables: bool = False
    destinations: Sequence[EmailAddress] = ()
    subject: str = ""
    stops: bool | None = None


# The fields of RuleContent.
_WRITTEN = (
    "name",
    "conditions",
    "needs_all",
    "blocks",
    "disables",
    "forwards",
    "subject",
    "stops",
    "changed",
)


@transaction.atomic
def make_rule(owner: User, content: RuleContent) -> Rule:
    """A new rule after all others. Raises InvalidRule, TooManyRules."""
    others = _locked(owner)
    if len(others) >= RULES_MAX:
        raise TooManyRules(gettext("You already have %(max)s rules.") % {"max": RULES_MAX})
    last = max((rule.place for rule in others), default=-1)
    rule = Rule(owner=owner, place=last + 1)
    _write(rule, content, others)
    return rule


@transaction.atomic
def change_rule(rule: Rule, content: RuleContent) -> None:
    """Raises InvalidRule, also if it was deleted meanwhile. Its switch and its place stay as they are."""
    present = _locked(rule.owner)
    others = [other for other in present if other.pk != rule.pk]
    if len(others) == len(present):
        raise InvalidRule(gettext("There is no such rule."), "name")
    _write(rule, content, others)


@transaction.atomic
def move_rule(rule: Rule, *, up: bool) -> bool:
    """Change places with the one before it, or after it; False if there is none."""
    keys = [other.pk for other in _locked(rule.owner)]
    if rule.pk not in keys:
        return False
    here = keys.index(rule.pk)
    there = here - 1 if up else here + 1
    if not 0 <= there < len(keys):
        return False
    keys[here], keys[there] = keys[there], keys[here]
    _place(keys)
    return True


@transaction.atomic
def order_rules(owner: User, keys: Sequence[int]) -> None:
    """Put these rules of the owner's into this order, in the places that they have. Others stay."""
    present = [rule.pk for rule in _locked(owner)]
    named = [key for key in dict.fromkeys(keys) if key in present]
    ordered = iter(named)
    _place([next(ordered) if key in named else key for key in present])


def _locked(owner: User) -> list[Rule]:
    """The owner's rules in their order, which nobody else changes until this transaction ends."""
    User.objects.select_for_update().get(pk=owner.pk)
    return list(Rule.objects.owned_by(owner).order_by("place", "pk"))


def _place(keys: Sequence[int]) -> None:
    rules = [Rule(pk=key, place=place) for place, key in enumerate(keys)]
    Rule.objects.bulk_update(rules, ["place"])


def _write(rule: Rule, content: RuleContent, others: Sequence[Rule]) -> None:
    rule.name = _clean_name(content.name)
    rule.conditions = [each.as_json() for each in _clean_conditions(content.conditions, others)]
    rule.__dict__.pop("condition_list", None)
    rule.needs_all, rule.blocks, rule.disables = content.needs_all, content.blocks, content.disables
    rule.subject = _clean_subject(content.subject)
    if content.stops is not None:
        rule.stops = content.stops
    destinations = _clean_destinations(rule.owner, content.destinations)
    rule.forwards = bool(destinations)
    if not (rule.blocks or rule.disables or rule.forwards or rule.subject):
        raise InvalidRule(gettext("Choose at least one thing that the rule does."), "actions")
    rule.changed = timezone.now()
    is_new = rule._state.adding
    # Others may have switched or moved it, and mail has counted it, since it was read.
    rule.save(update_fields=None if is_new else _WRITTEN)
    present: set[int | None] = set()
    if not is_new:
        wanted = {address.pk for address in destinations}
        links = list(rule.links.values_list("pk", "address_id"))
        rule.links.filter(pk__in=[pk for pk, address_id in links if address_id not in wanted]).delete()
        present = {address_id for _pk, address_id in links}
    RuleDestination.objects.bulk_create(
        RuleDestination(rule=rule, address=address) for address in destinations if address.pk not in present
    )


def _clean_name(name: str) -> str:
    name = " ".join(name.split())
    if not name:
        raise InvalidRule(gettext("Give the rule a name."), "name")
    if len(name) > NAME_MAX:
        raise InvalidRule(gettext("A name has at most %(max)s characters.") % {"max": NAME_MAX}, "name")
    if has_controls(name):
        raise InvalidRule(gettext("A name must not contain control characters."), "name")
    return name


def _clean_conditions(conditions: Sequence[Condition], others: Sequence[Rule]) -> Sequence[Condition]:
    if not conditions:
        raise InvalidRule(gettext("A rule needs a condition."), "conditions")
    if len(conditions) > CONDITIONS_MAX:
        sentence = gettext("A rule has at most %(max)s conditions.") % {"max": CONDITIONS_MAX}
        raise InvalidRule(sentence, "conditions")
    patterns = sum(condition.patterns for condition in conditions)
    if patterns and patterns + sum(rule.patterns for rule in others) > PATTERNS_MAX:
        sentence = gettext("All your rules together can have at most %(max)s patterns.")
        raise InvalidRule(sentence % {"max": PATTERNS_MAX}, "conditions")
    return conditions


def _clean_subject(subject: str) -> str:
    subject = subject.strip()
    if len(subject) > SUBJECT_MAX:
        sentence = gettext("A subject has at most %(max)s characters.") % {"max": SUBJECT_MAX}
        raise InvalidRule(sentence, "subject")
    if has_controls(subject):
        raise InvalidRule(gettext("A subject must not contain control characters."), "subject")
    if subject.count(OWN_SUBJECT) > 1:
        sentence = gettext("A subject contains %(placeholder)s at most once.")
        raise InvalidRule(sentence % {"placeholder": OWN_SUBJECT}, "subject")
    return subject


def _clean_destinations(owner: User, destinations: Sequence[EmailAddress]) -> Sequence[EmailAddress]:
    if len(destinations) > DESTINATIONS_MAX:
        sentence = ngettext(
            "A rule forwards to at most %(max)s address.",
            "A rule forwards to at most %(max)s addresses.",
            DESTINATIONS_MAX,
        )
        raise InvalidRule(sentence % {"max": DESTINATIONS_MAX}, "destinations")
    keys = [address.pk for address in destinations]
    own = EmailAddress.objects.filter(user=owner, verified=True, pk__in=keys)
    # Nobody may remove one meanwhile without the rule being skipped.
    found = {address.pk: address for address in own.select_for_update()}
    if len(found) < len(set(keys)):
        raise InvalidRule(gettext("A destination is not one of your verified addresses."), "destinations")
    return [found[key] for key in dict.fromkeys(keys)]
