"""The admin's home: counts, what needs attention, and the reader's own theme; moments in its lists."""

from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from anonmail_site import state
from domains.models import DnsCheck, Domain
from mail.models import Activity, Event, PausedDestination, SiteFault
from tests.rig.pages import text_of
from tokens.models import Token

pytestmark = pytest.mark.django_db

MISSING = {"mx": {"state": "missing", "reason": "", "found": []}}
ELSEWHERE = {"mx": {"state": "elsewhere", "reason": "", "found": []}}


def fail(alias: Alias, destination: EmailAddress, number: int, **values: object) -> None:
    Activity.objects.bulk_create(
        Activity(alias=alias, event=Event.BOUNCE, destination=destination, **values) for _ in range(number)
    )


def test_nothing_needs_attention_at_first(boss: Client, example_com: Domain, alice: User) -> None:
    for event in (Event.FORWARD, Event.BLOCK, Event.BOUNCE):
        Activity.objects.create(alias=issue(owner=alice), event=event)

    text = text_of(boss.get("/admin/"))

    counts = "Domains with the service on 1 Active users 2 Aliases 3 Messages in 24 hours 3"
    assert f"{counts} Failed deliveries in 24 hours 1 Nothing needs attention." in text


def test_what_needs_attention_is_said_and_linked(boss: Client, alice: User, other_org: Domain) -> None:
    fine = Domain.objects.create(name="fine.test", anonmail_enabled=True)
    DnsCheck.objects.create(domain=fine, findings=ELSEWHERE)
    DnsCheck.objects.create(domain=other_org, findings=MISSING)
    # Nobody needs the records of one that is off.
    off = Domain.objects.create(name="off.test")
    DnsCheck.objects.create(domain=off, findings=MISSING)
    alias = issue(owner=alice)
    Domain.objects.filter(name="example.com").update(anonmail_enabled=False)
    PausedDestination.objects.create(destination=EmailAddress.objects.get(user=alice))
    full = EmailAddress.objects.create(user=alice, email="alice@full.test", verified=True)
    once = EmailAddress.objects.create(user=alice, email="alice@once.test", verified=True)
    fail(alias, full, 3)
    fail(alias, once, 1)
    # Long ago; and where nothing is sent to any more.
    fail(alias, once, 3, moment=timezone.now() - timedelta(days=2))
    fail(alias, EmailAddress.objects.get(email="alice@example.com"), 5)
    SiteFault.objects.create(what="next hop: RCPT 530")
    SiteFault.objects.create(what="of old: 550", last=timezone.now() - timedelta(days=2))

    answer = boss.get("/admin/")
    text = text_of(answer)

    assert "Other servers refuse this site's mail. next hop: RCPT 530 1 domain has" in text
    assert "1 domain has DNS records to correct. other.org Deliveries to these" in text
    assert "failed repeatedly in the last 24 hours. alice@full.test (3) 1 destination" in text
    assert "Its owner can test and resume it. alice@example.com Domains with aliases" in text
    assert "are switched off: nobody can create more there. example.com" in text
    for name in ("off.test", "fine.test", "of old", "alice@once.test"):
        assert name not in text
    links = (
        answer.content.decode().partition("Needs attention")[2].partition("</section>")[0].split('href="')[1:]
    )
    for link in links:
        assert boss.get(link.partition('"')[0]).status_code == 200


def test_only_some_of_many_are_named_and_the_statements_stay_the_same(
    alice: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    alias = issue(owner=alice)
    for number in range(9):
        domain = Domain.objects.create(name=f"d{number}.test", anonmail_enabled=True)
        DnsCheck.objects.create(domain=domain, findings=MISSING)
        address = EmailAddress.objects.create(user=alice, email=f"a{number}@home.test", verified=True)
        PausedDestination.objects.create(destination=address)
        fail(alias, EmailAddress.objects.create(user=alice, email=f"f{number}@home.test", verified=True), 3)
        off = Domain.objects.create(name=f"off{number}.test")
        Alias.objects.create(address=f"x@off{number}.test", domain=off, owner=alias.owner)

    # A count each; faults, checks, failing ones, paused ones and how many, switched off.
    with django_assert_num_queries(11):
        state.counts()
        needs = state.needs()

    assert [len(need.links) for need in needs] == [6, 6, 1, 6]
    assert needs[0].sentence == "9 domains have DNS records to correct."
    assert needs[2].sentence.startswith("9 destinations refused mail")


def test_the_admin_has_the_readers_theme(boss: Client, root: User) -> None:
    for theme in ("dark", "light"):
        boss.post("/appearance/", {"theme": theme})
        assert f"theme-{theme}" in boss.get("/admin/").content.decode()
    boss.post("/appearance/", {"theme": ""})
    page = boss.get("/admin/").content.decode()
    assert "theme-" not in page
    assert "admin.css" in page


def test_moments_are_shown_by_their_distance(boss: Client, alice: User) -> None:
    token, _secret = Token.objects.issue(
        owner=alice, name="phone", expires=timezone.now() + timedelta(days=40)
    )
    Token.objects.filter(pk=token.pk).update(created=timezone.now() - timedelta(hours=3, minutes=1))

    page = boss.get("/admin/tokens/token/").content.decode()

    assert ">3 hours ago</time>" in page
    assert f'datetime="{token.expires.isoformat()[:10]}' in page  # type: ignore[union-attr]
    assert 'class="field-created' in page
    assert boss.get("/admin/core/auditentry/?o=1").status_code == 200
