"""How much a person may send, whatever happens at the same moment."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from aliases.issuing import issue
from contacts.models import Contact
from mail.delivery.writers import PER_CONTACT_AND_HOUR, Notice, Turn, admit_notices, take_turns
from tests.rig.at_once import all_at_once
from tests.rig.correspondents import contacts_for

pytestmark = pytest.mark.django_db

ALICE, BOB, CAROL = 1, 2, 3


def turns(amount: int, *, contact: int = BOB, user: int = ALICE, is_automatic: bool = False) -> list[Turn]:
    return [Turn(user, contact, str(number), is_automatic) for number in range(amount)]


def taken(wanted: Iterable[Turn]) -> int:
    """How many were within the limits, each asked for by itself."""
    return sum(take_turns([turn])[0] for turn in wanted)


def test_sixty_an_hour_go_to_one_correspondent() -> None:
    assert taken(turns(PER_CONTACT_AND_HOUR + 5)) == 60
    assert taken(turns(1, contact=CAROL)) == 1

    with time_machine.travel(timezone.now() + timedelta(hours=1, seconds=1)):
        assert taken(turns(1)) == 1


def test_a_person_can_send_so_many_a_day(settings: Settings) -> None:
    settings.REPLIES_PER_DAY = 3

    assert taken([*turns(2), *turns(2, contact=CAROL)]) == 3
    assert taken(turns(1, user=9, contact=9)) == 1
    with time_machine.travel(timezone.now() + timedelta(hours=23)):
        assert taken(turns(1)) == 0
    with time_machine.travel(timezone.now() + timedelta(days=1, seconds=1)):
        assert taken(turns(1)) == 1


def test_one_automatic_answer_a_day_goes_to_a_correspondent_and_others_are_not_held_up() -> None:
    assert taken(turns(3, is_automatic=True)) == 1
    assert taken(turns(1, contact=CAROL, is_automatic=True)) == 1
    assert taken(turns(2)) == 2

    with time_machine.travel(timezone.now() + timedelta(days=1, seconds=1)):
        assert taken(turns(1, is_automatic=True)) == 1


def test_what_was_refused_or_not_sent_after_all_does_not_count(settings: Settings) -> None:
    settings.REPLIES_PER_DAY = 2
    (first, second) = turns(2, is_automatic=True)
    assert taken([first]) == 1
    # The limit of automatic answers refuses it, so the day's has room.
    assert taken([second]) == 0
    assert taken(turns(1)) == 1
    assert taken(turns(1)) == 0

    assert take_turns([replace(first, is_given_back=True)]) == [False]

    assert taken([second]) == 1


def test_a_person_is_told_so_often_a_day() -> None:
    def told() -> int:
        return sum(admit_notices([Notice("unproven-replies", 1, ALICE, str(n))])[0] for n in range(3))

    assert told() == 1
    assert admit_notices([Notice("unproven-replies", 1, BOB, "x")]) == [True]
    assert admit_notices([Notice("refused-replies", 20, ALICE, "x")]) == [True]
    with time_machine.travel(timezone.now() + timedelta(days=1, seconds=1)):
        assert told() == 1


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    """Processes that count at the same moment, as threads with a connection each."""

    @pytest.mark.parametrize(
        ("is_automatic", "per_day", "expected"), [(False, 500, 60), (False, 20, 20), (True, 500, 1)]
    )
    def test_the_limits_of_replies_are_exact(
        self, settings: Settings, is_automatic: bool, per_day: int, expected: int
    ) -> None:
        settings.REPLIES_PER_DAY = per_day

        def deed(number: int) -> Callable[[], int]:
            wanted = [replace(turn, digest=f"{number} {turn.digest}") for turn in turns(12)]
            return lambda: taken(replace(turn, is_automatic=is_automatic) for turn in wanted)

        assert sum(all_at_once([deed(number) for number in range(8)])) == expected

    def test_the_limit_of_new_contacts_is_exact(self, alice: User, settings: Settings) -> None:
        settings.CONTACTS_PER_DAY = 20
        aliases = [issue(owner=alice).pk for _ in range(2)]

        def deed(number: int) -> Callable[[], int]:
            def make() -> int:
                named = [(f"c{number}-{each}@x.test", "") for each in range(5)]
                return len(contacts_for(aliases[number % 2], named))

            return make

        assert sum(all_at_once([deed(number) for number in range(8)])) == 20
        assert Contact.objects.count() == 20
