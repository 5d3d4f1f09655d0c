"""Rules in Django admin: whose they are, and nothing of what they say."""

import pytest
from django.test import Client

from accounts.models import User
from rules.models import Rule
from tests.rig.ruling import condition, rule

pytestmark = pytest.mark.django_db


def test_the_admin_shows_counts_and_no_values(boss: Client, alice: User) -> None:
    made = rule(
        alice, condition("subject", "is", "love letter"), name="My secret", subject="[Heart] {{subject}}"
    )

    for page in ("/admin/rules/rule/", f"/admin/rules/rule/{made.pk}/change/"):
        answer = boss.get(page)
        text = answer.content.decode()
        assert answer.status_code == 200
        assert alice.email in text
        for word in ("love", "secret", "Heart"):
            assert word not in text


def test_the_admin_changes_nothing(boss: Client, alice: User) -> None:
    made = rule(alice, blocks=True)

    for page in ("add/", f"{made.pk}/delete/"):
        assert boss.get(f"/admin/rules/rule/{page}").status_code == 403
    boss.post(f"/admin/rules/rule/{made.pk}/change/", {"name": "x", "is_on": ""})

    assert Rule.objects.get().is_on


def test_a_person_is_deleted_with_their_rules(alice: User, mallory: User) -> None:
    address = mallory.emailaddress_set.get()
    rule(mallory, destinations=[address])
    rule(alice, blocks=True)

    mallory.delete()

    assert Rule.objects.get().owner == alice
