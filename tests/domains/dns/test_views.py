"""A domain's DNS page: who sees it, what it says, and what its buttons do."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from core.audit import AuditEntry
from domains.dkim_keys import make_keys
from domains.models import DkimKey, DnsCheck, Domain
from tests.rig.dkim_keys import published_keys
from tests.rig.nameserver import FAILS, Nameserver

pytestmark = pytest.mark.django_db

PAGE = "/domains/example.com/dns/"


@pytest.fixture
def manager(browser: Client, alice: User, example_com: Domain) -> Client:
    example_com.managers.add(alice)
    return browser


def text_of(client: Client, path: str = PAGE) -> str:
    return client.get(path).content.decode()


def test_whoever_does_not_manage_the_domain_finds_nothing(
    browser: Client, alice: User, example_com: Domain, other_org: Domain, dns: Nameserver
) -> None:
    """Alice's own domain, and she manages another: neither shows her this one, nor whether it exists."""
    other_org.managers.add(alice)
    key = make_keys(example_com)[0]
    paths = [PAGE, f"{PAGE}keys/", f"{PAGE}keys/{key.pk}/drop/"]

    for path in paths:
        assert browser.post(path).status_code == 404
        assert browser.post(path.replace("example.com", "nowhere.test")).status_code == 404
    assert browser.post(f"/domains/other.org/dns/keys/{key.pk}/drop/").status_code == 404
    for name, status in {"example.com": 404, "nowhere.test": 404, "other.org": 200}.items():
        assert browser.get(f"/domains/{name}/dns/").status_code == status
    assert DkimKey.objects.count() == 2
    assert dns.asked == []


def test_a_page_that_is_only_read_asks_nobody(manager: Client, dns: Nameserver) -> None:
    said = text_of(manager)

    assert "Not checked yet." in said
    assert "v=spf1 mx -all" in said
    assert dns.asked == []


def test_the_button_checks_and_the_page_says_what_is_there(manager: Client, dns: Nameserver) -> None:
    dns.set("example.com", "MX 10 mx.elsewhere.test.", 'TXT "v=spf1 +all"')
    dns.records["_dmarc.example.com"] = FAILS
    dns.records["mx.elsewhere.test"] = ["A 192.0.2.99"]

    answer = manager.post(PAGE, follow=True)

    assert answer.redirect_chain == [(PAGE, 302)]
    said = answer.content.decode()
    assert "MX elsewhere" in said
    assert "mx.elsewhere.test" in said
    assert "The record lets every server send mail from this domain." in said
    assert "DNS did not answer" in said
    # The server is not in the domain's MX.
    assert "v=spf1 a:mx.example.com -all" in said
    assert "1 record to correct" in text_of(manager, "/domains/")


def test_an_spf_record_is_completed_and_not_replaced(manager: Client, dns: Nameserver) -> None:
    dns.set("example.com", 'TXT "V=SPF1 include:crm.test ip4:198.51.100.7 ~all"')
    dns.set("crm.test", 'TXT "v=spf1 -all"')

    said = manager.post(PAGE, follow=True).content.decode()

    assert 'data-copy="v=spf1 a:mx.example.com include:crm.test ip4:198.51.100.7 ~all"' in said


def test_what_somebody_wrote_into_the_dns_is_text_on_the_page(manager: Client, dns: Nameserver) -> None:
    dns.set("_dmarc.example.com", 'TXT "v=DMARC1; p=<script>alert(1)</script>\\" onclick=x"')

    said = manager.post(PAGE, follow=True).content.decode()

    assert "p=&lt;script&gt;alert(1)&lt;/script&gt;&quot; onclick=x" in said
    assert "<script>alert" not in said


def test_everything_right_is_said_in_the_lists(manager: Client, root: User, dns: Nameserver) -> None:
    dns.set("example.com", "MX 10 mx.example.com.", 'TXT "v=spf1 mx -all"')
    dns.set("_dmarc.example.com", 'TXT "v=DMARC1; p=reject"')
    assert "not checked yet" in text_of(manager, "/domains/")

    manager.post(PAGE)

    assert "DNS: right" in text_of(manager, "/domains/")
    assert "v=DMARC1; p=reject" in text_of(manager)
    manager.force_login(root)
    assert f'<a href="{PAGE}">right</a>' in text_of(manager, "/admin/domains/domain/")


def test_checks_are_limited(manager: Client, dns: Nameserver, settings: Settings) -> None:
    settings.DNS_CHECKS_PER_HOUR = 2

    answers = [
        manager.post(PAGE),
        manager.post(f"{PAGE}keys/"),
        manager.post(PAGE),
        manager.post(f"{PAGE}keys/"),
    ]

    assert [answer.status_code for answer in answers] == [302, 302, 429, 429]
    assert "Too many checks for now. Try again in 60 minutes." in answers[2].content.decode()
    assert DkimKey.objects.count() == 2


def test_keys_are_made_and_their_records_are_shown(manager: Client, alice: User) -> None:
    answer = manager.post(f"{PAGE}keys/", follow=True)

    said = answer.content.decode()
    rsa, ed25519 = DkimKey.objects.all()
    for key in (rsa, ed25519):
        assert f'data-copy="{key.record_name}"' in said
        assert f'data-copy="{key.record_text}"' in said
    assert said.count("It will sign once a check has found its record.") == 2
    assert [(entry.action, entry.actor) for entry in AuditEntry.objects.all()] == [("dkimkey.add", alice)] * 2

    again = manager.post(f"{PAGE}keys/")

    assert again.status_code == 409
    assert f"{rsa.selector} is not in the DNS yet." in again.content.decode()
    assert DkimKey.objects.count() == 2


def test_the_page_tells_which_key_signs(manager: Client, example_com: Domain, settings: Settings) -> None:
    published_keys(example_com)
    assert text_of(manager).count("It has been signing since") == 2
    make_keys(example_com)
    DkimKey.objects.filter(published=None).update(published=timezone.now() - timedelta(hours=1))

    said = text_of(manager)

    assert said.count("It has been signing since") == 2
    assert said.count("A newer key has been signing since") == 2
    settings.SECRET_KEY = "another-" + "x" * 60
    manager.force_login(User.objects.get(email="alice@example.com"))
    assert text_of(manager).count("The key was created under another SECRET_KEY") == 4


def test_a_key_is_dropped_after_a_question(manager: Client, example_com: Domain, alice: User) -> None:
    first, second = published_keys(example_com)
    path = f"{PAGE}keys/{first.pk}/drop/"

    asked = text_of(manager, path)
    assert DkimKey.objects.count() == 2
    answer = manager.post(path, follow=True)

    assert f"Delete the key {first.selector} of example.com?" in asked
    assert f"{first.selector} has been deleted." in answer.content.decode()
    assert list(DkimKey.objects.all()) == [second]
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.actor, entry.subject) == (
        "dkimkey.delete",
        alice,
        f"{first.selector} – example.com",
    )
    assert manager.post(path).status_code == 404


def test_without_a_public_name_there_is_no_record_for_it(manager: Client, settings: Settings) -> None:
    settings.MAIL_HOSTNAME = "127.0.0.1"

    said = text_of(manager)

    assert "This server has no public name yet" in said
    assert "127.0.0.1" not in said
    assert "v=DMARC1; p=none" in said


def test_with_dkim_off_the_page_is_silent_about_it(manager: Client, settings: Settings) -> None:
    settings.MAIL_DKIM = "off"

    said = text_of(manager)

    assert "DKIM" not in said.replace("SPF nor DKIM", "")


def test_a_domain_with_mailboxes_is_not_closed_to_its_other_senders(
    manager: Client, example_com: Domain, dns: Nameserver
) -> None:
    Domain.objects.filter(pk=example_com.pk).update(is_shared=True)

    assert "v=spf1 mx ~all" in text_of(manager)


def test_lists_and_page_take_as_many_statements_for_one_domain_and_for_five(
    manager: Client, root: User, example_com: Domain
) -> None:
    manager.force_login(root)
    DnsCheck.objects.create(domain=example_com)
    published_keys(example_com)

    def statements(path: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            manager.get(path)
        return len(captured)

    paths = ("/domains/", PAGE, "/admin/domains/domain/")
    for path in paths:
        manager.get(path)
    before = [statements(path) for path in paths]
    for number in range(4):
        domain = Domain.objects.create(name=f"d{number}.test")
        DnsCheck.objects.create(domain=domain)
        published_keys(domain)

    assert [statements(path) for path in paths] == before
