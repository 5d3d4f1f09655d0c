"""What rules would say of a message that has come before."""

from collections.abc import Sequence
from dataclasses import dataclass

from accounts.models import User
from aliases.models import Alias
from mail.delivery.hiding import AUTHOR_FIELD
from mail.delivery.message import Fields, author
from rules.facts import Facts
from rules.judging import Judged, Plan, judge, new_subject, plan_of
from rules.models import Rule

_ALIAS_FIELD, _AUTHOR_FIELD = "x-anonmail-alias", AUTHOR_FIELD.lower()


def alias_named(fields: Fields) -> str:
    """The alias over which we have forwarded the message; "" if it does not say."""
    return next((text for name, text in fields if name == _ALIAS_FIELD), "")


@dataclass(frozen=True)
class Trial:
    """What each rule says of a message, and what would be done in the end."""

    facts: Facts
    judged: Sequence[Judged]
    plan: Plan

    @property
    def addresses(self) -> str:
        """To which a rule sends it."""
        return ", ".join(address.email for address in self.plan.destinations)

    @property
    def subject(self) -> str:
        """The subject that it would get."""
        return new_subject(next(iter(self.facts.header("subject")), ""), self.plan.subjects)


def try_out(user: User, fields: Fields, alias: Alias) -> Trial:
    """Judge the message by all rules of the alias's owner.

    What we have forwarded with reverse addresses names its real author in a field of ours.
    """
    hidden_author = next((text for name, text in fields if name == _AUTHOR_FIELD), "")
    facts = Facts(fields, hidden_author or author(fields, ""), alias.address, alias.note)
    judged = judge(Rule.objects.owned_by(user).in_order(), facts)
    return Trial(facts, judged, plan_of(judged))
