"""Messages that go on at once if nothing speaks against it.

Where a message goes is looked up, and that it is about to go there is written, by one thread in one go: with
two threads, each message would wait for both of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mail.delivery.entries import Begun, Redirected
from mail.delivery.lookups import CopiesOf, Destination, DestinationsOf, Known, answer_all, leading_to_us

Plain = Begun | Redirected


@dataclass(frozen=True, eq=False)
class Proposal:
    """A question, and what is to be written if the answer is plain.

    `entry_for` gets the answer, which is about one destination that does not lead to us, and returns what is
    to be written; None if it is not so plain after all.
    """

    question: CopiesOf | DestinationsOf
    entry_for: Callable[[Any], Plain | None]


class Weighed(NamedTuple):
    """The answer to a proposal's question, and what was written."""

    found: list[Any]
    entry: Plain | None


def weigh(proposals: Sequence[Proposal]) -> list[Weighed]:
    """What is found, and is to be written, for each of them."""
    answers = answer_all([each.question for each in proposals])
    only = [_only_destination(found) for found in answers]
    ours = leading_to_us(each for each in only if each)
    return [
        Weighed(found, proposal.entry_for(found[0]) if address and address not in ours else None)
        for proposal, found, address in zip(proposals, answers, only, strict=True)
    ]


def _only_destination(found: Sequence[Destination | tuple[Destination, Known]]) -> str:
    """The address to which the message goes; "" if there are several, or none."""
    if len(found) != 1:
        return ""
    (only,) = found
    return only.email if isinstance(only, Destination) else only[0].email
