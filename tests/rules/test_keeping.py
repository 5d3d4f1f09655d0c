"""Making, changing and ordering rules: limits, and two at once."""

import random
import threading
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.db import connection

from accounts.models import User
from core.matching import InvalidPattern
from rules.conditions import Condition, Match, Of
from rules.exceptions import InvalidRule, TooManyRules
from rules.facts import Facts
from rules.judging import NO_PLAN, Said, judge, new_subject, plan_of
from rules.keeping import RuleContent, change_rule, move_rule, order_rules
from rules.models import PATTERNS_MAX, RULES_MAX, Rule
from tests.rig.ruling import condition, rule

pytestmark = pytest.mark.django_db

FACTS = Facts([("subject", "spam")], "eve@far.test", "a@example.com")


def names(owner: User) -> str:
    return "".join(each.name for each in Rule.objects.owned_by(owner).in_order())


def test_people_have_so_many_rules_each(alice: User, mallory: User) -> None:
    for _number in range(RULES_MAX):
        rule(alice, blocks=True)

    with pytest.raises(TooManyRules):
        rule(alice, blocks=True)
    rule(mallory, blocks=True)


def test_all_rules_together_have_so_many_patterns(alice: User) -> None:
    values = [f"a{number}" for number in range(PATTERNS_MAX - 1)]
    many = condition("subject", "matches", *values)
    first = rule(alice, many, blocks=True)
    rule(alice, condition("subject", "matches_not", "b"), blocks=True)

    with pytest.raises(InvalidRule, match="at most 20 patterns"):
        rule(alice, condition("sender", "matches", "c"), blocks=True)
    # Its own are not counted twice; and others are no patterns.
    change_rule(first, RuleContent("x", [many], blocks=True))
    rule(alice, condition("sender", "is", "c"), blocks=True)


def test_a_rule_that_does_nothing_is_none(alice: User) -> None:
    with pytest.raises(InvalidRule) as refused:
        rule(alice)

    assert refused.value.part == "actions"


def test_a_rule_keeps_the_order_of_its_destinations_and_forgets_those_that_are_gone(alice: User) -> None:
    first, second = (
        EmailAddress.objects.create(user=alice, email=f"{name}@home.test", verified=True) for name in "ab"
    )
    made = rule(alice, destinations=[first, second])
    first.delete()
    made = Rule.objects.in_order().get()
    assert made.lacks_destination

    change_rule(made, RuleContent("x", made.condition_list, destinations=[second]))

    made = Rule.objects.in_order().get()
    assert (made.lacks_destination, made.destinations) == (False, [second])


def test_an_order_of_strangers_rules_changes_nothing(alice: User, mallory: User) -> None:
    theirs = [rule(mallory, name=name, blocks=True) for name in "xy"]
    mine = [rule(alice, name=name, blocks=True) for name in "abc"]

    order_rules(alice, [theirs[1].pk, mine[2].pk, mine[2].pk, 10**12])

    assert (names(alice), names(mallory)) == ("abc", "xy")


def test_rules_that_an_order_does_not_name_stay_in_their_places(alice: User) -> None:
    """A client may not know them all."""
    made = {name: rule(alice, name=name, blocks=True).pk for name in "abcde"}

    order_rules(alice, [made[name] for name in "eca"])

    assert names(alice) == "ebcda"


def test_a_rule_that_is_deleted_meanwhile_is_not_moved(alice: User) -> None:
    made = rule(alice, blocks=True)
    gone = Rule.objects.get()
    made.delete()

    assert not move_rule(gone, up=True)


def test_a_rule_that_is_deleted_meanwhile_does_not_come_back(alice: User) -> None:
    made = rule(alice, blocks=True)
    gone = Rule.objects.get()
    made.delete()

    gone.switch(on=False)
    with pytest.raises(InvalidRule):
        change_rule(gone, RuleContent("Back", [condition("subject", "is", "x")], blocks=True))

    assert not Rule.objects.exists()


def test_a_change_leaves_what_has_happened_to_the_rule_meanwhile(alice: User) -> None:
    first, second = rule(alice, name="a", blocks=True), rule(alice, name="b", blocks=True)
    move_rule(second, up=True)
    Rule.objects.get(pk=first.pk).switch(on=False)
    Rule.objects.filter(pk=first.pk).update(applied=7)

    change_rule(first, RuleContent("c", [condition("subject", "is", "x")], disables=True))

    kept = Rule.objects.get(pk=first.pk)
    assert (kept.name, kept.disables, kept.blocks) == ("c", True, False)
    assert (kept.is_on, kept.place, kept.applied) == (False, 1, 7)


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_two_who_order_at_once_leave_each_rule_with_a_place_of_its_own(alice: User) -> None:
    made = [rule(alice, name=name, blocks=True) for name in "abcde"]
    raised: list[Exception] = []

    def shuffle(seed: int) -> None:
        chance = random.Random(seed)
        try:
            for _time in range(15):
                if chance.random() < 0.5:
                    move_rule(chance.choice(made), up=chance.random() < 0.5)
                else:
                    order_rules(alice, [each.pk for each in chance.sample(made, 3)])
        except Exception as error:
            raised.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=shuffle, args=[seed]) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert raised == []
    assert sorted(Rule.objects.values_list("place", flat=True)) == [0, 1, 2, 3, 4]
    assert sorted(names(alice)) == list("abcde")


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_two_who_take_the_last_place_at_once_get_one_rule(alice: User) -> None:
    for _number in range(RULES_MAX - 1):
        rule(alice, blocks=True)
    refused: list[Exception] = []

    def make() -> None:
        try:
            rule(User.objects.get(pk=alice.pk), blocks=True)
        except TooManyRules as error:
            refused.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=make) for _number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(refused), Rule.objects.count()) == (2, RULES_MAX)


def test_rules_are_judged_in_order(alice: User) -> None:
    rule(alice, subject="[A] {{subject}}")
    rule(alice, condition("sender", "is", "nobody@far.test"), blocks=True)
    rule(alice, disables=True, stops=True)
    rule(alice, blocks=True)

    judged = judge(Rule.objects.in_order(), FACTS)

    assert [each.said for each in judged] == [Said.APPLIES, Said.NOT, Said.APPLIES, Said.NOT_REACHED]
    plan = plan_of(judged)
    assert (plan.blocks, plan.disables, plan.subjects, len(plan.rule_ids)) == (
        False,
        True,
        ("[A] {{subject}}",),
        2,
    )


def test_any_or_all_conditions_are_needed(alice: User) -> None:
    both = [condition("subject", "is", "spam"), condition("sender", "is", "nobody@far.test")]
    rule(alice, *both, blocks=True)
    rule(alice, *both, needs_all=False, disables=True)

    plan = plan_of(judge(Rule.objects.in_order(), FACTS))

    assert (plan.blocks, plan.disables) == (False, True)


def test_a_pattern_that_is_not_accepted_any_more_lets_its_rule_be_skipped(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule(alice, condition("subject", "matches", "spam"), blocks=True)

    def refuse(_text: str) -> Any:
        raise InvalidPattern("x")

    monkeypatch.setattr("rules.conditions.pattern", refuse)

    (judged,) = judge(Rule.objects.in_order(), FACTS)
    assert judged.said is Said.SKIPPED
    assert plan_of([judged]) is NO_PLAN


def test_a_subject_does_not_grow_without_end() -> None:
    """Of many rules, each adds its own words once; what the message itself says is no placeholder."""
    own = "{{subject}}" * 3
    made = new_subject(own, ["[A] {{subject}}", "[B] {{subject}}"])

    assert made == f"[B] [A] {own}"
    assert len(new_subject("x", ["{{subject}}{{subject}}"] * 50)) < 1000


def test_an_unfinished_rule_never_applies(alice: User) -> None:
    """Without conditions, all of none would be true."""
    Rule.objects.create(owner=alice, name="x", conditions=[], blocks=True)

    assert plan_of(judge(Rule.objects.in_order(), FACTS)) is NO_PLAN


def test_a_condition_says_what_it_is() -> None:
    one = Condition(Of.HEADER, Match.CONTAINS, tuple("abcdefg"), "list-id")

    assert (one.subject, one.shown_values, one.left_out) == ("header field list-id", tuple("abcde"), 2)
