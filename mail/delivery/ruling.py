"""What an alias's owner wants done with a message, by the rules of theirs (rules.judging)."""

import asyncio

from mail.delivery.handover import Head
from mail.delivery.lookups import Destination, Known, Lookups
from mail.delivery.resolve import Resolution
from mail.delivery.rule_rows import RuleBook
from rules.facts import Facts
from rules.judging import NO_PLAN, Plan, judge, plan_of


async def ruled(lookups: Lookups, head: Head, alias: Resolution) -> Plan:
    """What the rules say of the message. No statement for an alias whose owner has none; otherwise two."""
    if not alias.has_rules or alias.alias_id is None:
        return NO_PLAN
    book = await lookups.rules(alias.alias_id)
    # Patterns may take some milliseconds, in which others have their turn.
    return await asyncio.to_thread(_plan, book, head)


def _plan(book: RuleBook, head: Head) -> Plan:
    return plan_of(judge(book.rules, Facts(head.fields, head.author, book.alias, book.note)))


async def chosen_copies(
    lookups: Lookups, plan: Plan, alias_id: int, digest: str, usual: Destination
) -> list[tuple[Destination, Known]]:
    """The destinations that the plan has chosen, each with what is known of the message's copy for it.

    `usual`: one of the alias's own, for what they have in common.
    """
    keys = tuple(address.pk for address in plan.destinations)
    known = await lookups.chosen_copies(alias_id, digest, keys)
    found = []
    for address in plan.destinations:
        copy = known[address.pk]
        chosen = usual._replace(
            destination_id=address.pk, email=address.email, is_paused=copy.is_paused, key_id=copy.key_id
        )
        found.append((chosen, Known(copy.delivery_id, copy.is_accepted, copy.moment)))
    return found
