"""The daily mail about new senders."""

from datetime import timedelta

import pytest
import time_machine
from django.core import mail
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from accounts.models import User
from aliases.choosing import preferences_of
from aliases.issuing import issue
from aliases.models import Alias, AliasPreferences, SenderDomain
from contacts import new_senders
from contacts.new_senders import tell

pytestmark = pytest.mark.django_db


@pytest.fixture
def alias(alice: User) -> Alias:
    wanting(alice)
    return issue(owner=alice, hostname="www.shop.co.uk")


def wanting(user: User) -> None:
    preferences = preferences_of(user)
    preferences.tells_of_new_senders = True
    preferences.save()


def new_senders_to(alias: Alias, *domains: str, **values: object) -> None:
    for domain in domains:
        SenderDomain.objects.create(alias=alias, domain=domain, **values)


def test_one_mail_names_each_alias_and_its_new_senders(alias: Alias) -> None:
    other = issue(owner=alias.owner, hostname="other.com")
    new_senders_to(alias, "proven.org", is_proven=True)
    new_senders_to(alias, "stranger.biz")
    new_senders_to(other, "xn--bcher-kva.de")
    new_senders_to(alias, "mailer.net", answer="fine")

    call_command("report_new_senders")

    (sent,) = mail.outbox
    assert sent.to == ["alice@example.com"]
    assert sent.subject == "Anonmail: new senders to 2 aliases"
    assert f"{alias} (www.shop.co.uk)\n- proven.org\n- stranger.biz (claims to be)\n" in sent.body
    assert f"/aliases/{alias.pk}/#senders" in sent.body
    assert "bücher.de" in sent.body
    assert "mailer.net" not in sent.body
    # Following a link changes nothing.
    assert "/senders/" not in sent.body


def test_an_alias_that_has_lost_its_website_is_named_without_one(alias: Alias) -> None:
    new_senders_to(alias, "stranger.biz")
    alias.edit(hostname="")

    tell()

    assert f"{alias}\n- stranger.biz" in mail.outbox[0].body


def test_an_alias_is_named_once_a_day_and_a_sender_once(alias: Alias) -> None:
    new_senders_to(alias, "stranger.biz")
    assert tell() == 1
    new_senders_to(alias, "later.biz")
    new_senders_to(issue(owner=alias.owner, hostname="other.com"), "third.biz")

    assert tell() == 1
    assert "third.biz" in mail.outbox[1].body
    assert "later.biz" not in mail.outbox[1].body
    with time_machine.travel(timezone.now() + timedelta(days=1)):
        assert tell() == 1
        assert tell() == 0
    assert "later.biz" in mail.outbox[2].body
    assert "stranger.biz" not in mail.outbox[2].body
    assert len(mail.outbox) == 3


def test_a_flood_makes_one_short_mail(alias: Alias, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_senders, "ALIASES_NAMED", 2)
    aliases = [alias, *(issue(owner=alias.owner, hostname="shop.co.uk") for _ in range(3))]
    for each in aliases:
        new_senders_to(each, *(f"s{number}.biz" for number in range(40)))

    assert tell() == 160

    (sent,) = mail.outbox
    assert sent.body.count("- s") == 2 * new_senders.SENDERS_NAMED
    assert sent.body.count("- and 35 more") == 2
    assert "And 2 aliases more:" in sent.body
    assert "/aliases/?status=senders" in sent.body
    assert tell() == 0


@pytest.mark.parametrize("why", ["no preference", "deleted", "inactive"])
def test_others_get_no_mail(alias: Alias, alice: User, root: User, why: str) -> None:
    new_senders_to(alias, "stranger.biz")
    match why:
        case "no preference":
            preferences = preferences_of(alice)
            preferences.tells_of_new_senders = False
            preferences.save()
        case "deleted":
            alias.soft_delete()
        case "inactive":
            alice.deactivate()

    assert tell() == 0
    assert mail.outbox == []


def test_a_mail_that_cannot_be_sent_is_sent_the_next_time(
    alias: Alias, alice: User, root: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanting(root)
    new_senders_to(alias, "stranger.biz")
    new_senders_to(issue(owner=root, hostname="other.com"), "third.biz")
    send = new_senders.send_template

    def fail_for_alice(name: str, to: str, *rest: object, **more: object) -> None:
        if to.startswith("alice"):
            raise OSError
        send(name, to, *rest, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(new_senders, "send_template", fail_for_alice)
        assert tell() == 1
    assert tell() == 1
    assert [sent.to for sent in mail.outbox] == [[root.email], [alice.email]]


def test_the_mail_is_in_its_readers_language(alias: Alias, alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(language="de")
    new_senders_to(alias, "stranger.biz")

    tell()

    (sent,) = mail.outbox
    assert sent.subject == "Anonmail: neue Absender an 1 Alias"
    assert "- stranger.biz (nach eigener Angabe)" in sent.body


def test_the_preference_is_on_the_account_page_and_off_at_first(browser: Client, alice: User) -> None:
    assert not preferences_of(alice).tells_of_new_senders
    page = browser.get("/account/").content.decode()
    assert "A daily e-mail about new senders to my aliases" in page

    answer = browser.post("/account/", {"style": "words", "tells_of_new_senders": "on"})

    assert answer.status_code == 302
    assert AliasPreferences.objects.get(user=alice).tells_of_new_senders
