"""What a person's rules say of one message, one after the other, and what is to be done in the end. Pure."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from allauth.account.models import EmailAddress

from core.matching import InvalidPattern
from core.sparing_logs import warn_sparingly
from rules.conditions import Condition
from rules.facts import Facts
from rules.models import DESTINATIONS_MAX, OWN_SUBJECT, Rule

logger = logging.getLogger(__name__)


class Said(Enum):
    """What becomes of a rule."""

    APPLIES = "applies"
    NOT = "does not apply"
    OFF = "is off"
    SKIPPED = "lacks a destination, or has a pattern that is not accepted any more"
    NOT_REACHED = "an earlier one was the last"


@dataclass(frozen=True)
class Judged:
    """A rule, and what it says; `holds`: of each condition, if it was looked at."""

    rule: Rule
    said: Said
    holds: tuple[bool, ...] = ()

    @property
    def conditions(self) -> list[tuple[Condition, bool]]:
        """Each condition that was looked at, and whether it is true."""
        return list(zip(self.rule.condition_list, self.holds, strict=False))


@dataclass(frozen=True)
class Plan:
    """What is to be done with a message."""

    rule_ids: tuple[int, ...] = ()
    blocks: bool = False
    disables: bool = False
    # Instead of the alias's own; none leaves those.
    destinations: tuple[EmailAddress, ...] = ()
    # New subjects, to be given one after the other.
    subjects: tuple[str, ...] = ()


NO_PLAN = Plan()


def judge(rules: Iterable[Rule], facts: Facts) -> list[Judged]:
    """What each of the rules, which are in their order, says of the message."""
    judged, is_over = [], False
    for rule in rules:
        if is_over:
            judged.append(Judged(rule, Said.NOT_REACHED))
            continue
        found = _judge_one(rule, facts)
        judged.append(found)
        is_over = rule.stops and found.said is Said.APPLIES
    return judged


def _judge_one(rule: Rule, facts: Facts) -> Judged:
    if not rule.is_on:
        return Judged(rule, Said.OFF)
    if rule.lacks_destination:
        return Judged(rule, Said.SKIPPED)
    try:
        holds = tuple(condition.holds(facts) for condition in rule.condition_list)
    except InvalidPattern:
        warn_sparingly(logger, "rule %s skipped: a pattern is not accepted any more", rule.pk)
        return Judged(rule, Said.SKIPPED)
    applies = bool(holds) and (all(holds) if rule.needs_all else any(holds))
    return Judged(rule, Said.APPLIES if applies else Said.NOT, holds)


def plan_of(judged: Iterable[Judged]) -> Plan:
    """What those that apply want done: any may block or disable, the destinations are put together, and each
    subject is given to what the one before it has made."""
    applying = [each.rule for each in judged if each.said is Said.APPLIES]
    if not applying:
        return NO_PLAN
    destinations = {each.pk: each for rule in applying if rule.forwards for each in rule.destinations}
    return Plan(
        rule_ids=tuple(rule.pk for rule in applying),
        blocks=any(rule.blocks for rule in applying),
        disables=any(rule.disables for rule in applying),
        destinations=tuple(destinations.values())[:DESTINATIONS_MAX],
        subjects=tuple(rule.subject for rule in applying if rule.subject),
    )


def new_subject(own: str, subjects: Sequence[str]) -> str:
    """The message's subject after these."""
    for subject in subjects:
        own = subject.replace(OWN_SUBJECT, own, 1)
    return own.strip()
