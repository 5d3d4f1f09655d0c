"""The pages with figures: whose mail they count, and how much they ask the database."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from domains.models import Domain
from mail.models import Activity, Event
from tests.rig.pages import text_of

pytestmark = pytest.mark.django_db


def with_mail(owner: User, forwarded: int, blocked: int, domain: str | None = None) -> Alias:
    """An alias of the owner's that received so much today, and ten times as much in all."""
    alias = issue(owner=owner, domain=domain)
    Alias.objects.filter(pk=alias.pk).update(forwards=10 * forwarded, blocks=10 * blocked)
    for event, number in ((Event.FORWARD, forwarded), (Event.BLOCK, blocked)):
        Activity.objects.bulk_create(Activity(alias=alias, event=event) for _ in range(number))
    return alias


def test_the_owner_sees_the_sums_of_own_aliases(
    alice: User, mallory: User, example_com: Domain, client: Client
) -> None:
    example_com.grant(mallory)
    with_mail(alice, 3, 1)
    with_mail(alice, 2, 0)
    with_mail(mallory, 50, 50)
    with_mail(alice, 7, 7).soft_delete()
    client.force_login(alice)

    text = text_of(client.get("/aliases/figures/"))

    assert "Aliases 2 Forwarded 50 Blocked 10" in text
    assert "In the last 30 days: 5 forwarded , 1 blocked ." in text


def test_a_manager_sees_the_sums_of_the_domain_alone(
    alice: User, mallory: User, example_com: Domain, other_org: Domain, client: Client
) -> None:
    other_org.managers.add(mallory)
    other_org.grant(alice)
    with_mail(alice, 3, 1, "other.org")
    with_mail(mallory, 1, 0, "other.org")
    with_mail(alice, 40, 40, "example.com")
    client.force_login(mallory)

    answer = client.get("/domains/other.org/figures/")
    text = text_of(answer)

    assert "Aliases 2 Their owners 2 Forwarded 40 Blocked 10" in text
    assert "In the last 30 days: 4 forwarded , 1 blocked ." in text
    assert alice.email not in text
    assert client.get("/domains/example.com/figures/").status_code == 404


def test_no_mail_is_said(alice: User, client: Client) -> None:
    old = with_mail(alice, 0, 0)
    Activity.objects.create(alias=old, event=Event.FORWARD, moment=timezone.now() - timedelta(days=40))
    client.force_login(alice)

    assert "No mail came in the last 30 days." in text_of(client.get("/aliases/figures/"))


def test_the_figures_cost_the_same_statements_for_any_number(
    alice: User, other_org: Domain, client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    other_org.managers.add(alice)
    client.force_login(alice)
    for _ in range(3):
        for _ in range(4):
            with_mail(alice, 1, 1, "other.org")
        # Session, user, figures, chart; managed domains and paused destinations of the frame.
        with django_assert_num_queries(6):
            client.get("/aliases/figures/")
        # And the domain with its check, and its aliases' owners.
        with django_assert_num_queries(8):
            client.get("/domains/other.org/figures/")
