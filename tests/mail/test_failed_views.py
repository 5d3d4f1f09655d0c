"""The page of failed deliveries."""

from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias, AliasPreferences
from contacts.book import add_contact
from mail.models import Activity, FailedDelivery, ReturnedMessage
from mail.views import PAGE_SIZE

pytestmark = pytest.mark.django_db

LIST = "/failed-deliveries/"


def fail(alias: Alias, **about: object) -> Activity:
    destination = EmailAddress.objects.get(user=alias.owner)
    return Activity.objects.create(
        **{"alias": alias, "event": "bounce", "destination": destination, "status": "5.1.1", **about}
    )


def test_each_entry_says_what_happened_in_plain_words(browser: Client, alice: User) -> None:
    alias = issue(owner=alice)
    fail(alias, sender="shop@sender.test", reason="550 5.1.1 <b>Nobody</b>")
    Activity.objects.create(alias=alias, event="forward", sender="fine@sender.test")

    page = browser.get(LIST).content.decode()

    assert "There is no such mailbox." in page
    assert "5.1.1" in page
    assert "shop@sender.test" in page
    assert "550 5.1.1 &lt;b&gt;Nobody&lt;/b&gt;" in page
    assert alias.address in page
    assert "→&nbsp;alice@example.com" in page
    assert "fine@sender.test" not in page


def test_the_page_of_an_alias_leads_to_its_own_and_back(browser: Client, alice: User) -> None:
    alias, other = issue(owner=alice), issue(owner=alice)
    fail(alias, sender="one@sender.test")
    fail(other, sender="two@sender.test")

    page = browser.get(f"/aliases/{alias.pk}/").content.decode()
    listed = browser.get(f"{LIST}?alias={alias.pk}").content.decode()

    assert f'href="{LIST}?alias={alias.pk}"' in page
    assert "one@sender.test" in listed
    assert "two@sender.test" not in listed
    assert f'href="/aliases/{alias.pk}/"' in listed


def test_a_reply_that_came_back_leads_to_its_correspondent(browser: Client, alice: User) -> None:
    alias = issue(owner=alice)
    contact, _existed = add_contact(alias, "jane@shop.test")
    fail(alias, destination=None, contact=contact, sender="jane@shop.test", is_reply=True)

    page = browser.get(LIST).content.decode()

    assert "your reply from" in page
    assert f'href="/contacts/{contact.pk}/">jane@shop.test</a>' in page


@pytest.mark.parametrize("key", ["x", "", "9" * 30, "²", "999999"])
def test_an_alias_that_is_none_shows_all(browser: Client, alice: User, key: str) -> None:
    fail(issue(owner=alice), sender="one@sender.test")

    assert "one@sender.test" in browser.get(f"{LIST}?alias={key}").content.decode()


def test_a_strangers_entries_do_not_exist(browser: Client, root: User, example_com: object) -> None:
    failed = fail(issue(owner=root, domain="example.com"), sender="secret@sender.test")
    ReturnedMessage.keep(failed, b"Subject: secret\r\n\r\n")

    assert "secret@sender.test" not in browser.get(LIST).content.decode()
    assert "secret@sender.test" not in browser.get(f"{LIST}?alias={failed.alias_id}").content.decode()
    assert browser.get(f"{LIST}{failed.pk}/message.eml").status_code == 404
    assert browser.post(f"{LIST}{failed.pk}/delete/").status_code == 404
    assert FailedDelivery.objects.filter(pk=failed.pk).exists()


def test_a_kept_message_is_downloaded_as_it_was(browser: Client, alice: User) -> None:
    failed = fail(issue(owner=alice))
    octets = b"Subject: Caf\xc3\xa9\r\n\r\n<script>\xff\r\n"
    ReturnedMessage.keep(failed, octets)

    page = browser.get(LIST).content.decode()
    answer = browser.get(f"{LIST}{failed.pk}/message.eml")

    assert f'href="{LIST}{failed.pk}/message.eml"' in page
    assert answer.content == octets
    assert answer["Content-Type"] == "message/rfc822"
    assert answer["Content-Disposition"] == f'attachment; filename="message-{failed.pk}.eml"'
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "no-store" in answer["Cache-Control"]


def test_a_download_needs_a_fresh_sign_in(alice: User, client: Client) -> None:
    failed = fail(issue(owner=alice))
    ReturnedMessage.keep(failed, b"Subject: x\r\n\r\n")
    client.force_login(alice)

    answer = client.get(f"{LIST}{failed.pk}/message.eml")

    assert answer.status_code == 302
    assert "/accounts/reauthenticate/" in answer["Location"]


@pytest.mark.parametrize("sealed", ["", "gAAAA"])
def test_a_message_that_cannot_be_read_any_more_is_not_found(
    browser: Client, alice: User, sealed: str
) -> None:
    failed = fail(issue(owner=alice))
    if sealed:
        ReturnedMessage.objects.create(activity=failed, alias=failed.alias, octets=1, sealed=sealed)

    assert browser.get(f"{LIST}{failed.pk}/message.eml").status_code == 404


def test_deleting_takes_the_message_too_and_leaves_the_figures(browser: Client, alice: User) -> None:
    alias = issue(owner=alice)
    Alias.objects.filter(pk=alias.pk).update(forwards=3)
    failed, other = fail(alias), fail(alias)
    ReturnedMessage.keep(failed, b"Subject: x\r\n\r\n")

    answer = browser.post(f"{LIST}{failed.pk}/delete/", {"of_alias": "1"})

    assert answer["Location"] == f"{LIST}?alias={alias.pk}"
    assert list(FailedDelivery.objects.values_list("pk", flat=True)) == [other.pk]
    assert not ReturnedMessage.objects.exists()
    assert Alias.objects.get(pk=alias.pk).forwards == 3


def test_what_is_no_failed_delivery_cannot_be_deleted(browser: Client, alice: User) -> None:
    forwarded = Activity.objects.create(alias=issue(owner=alice), event="forward")

    assert browser.post(f"{LIST}{forwarded.pk}/delete/").status_code == 404
    assert Activity.objects.filter(pk=forwarded.pk).exists()


def test_keeping_is_off_until_it_is_switched_on(browser: Client, alice: User) -> None:
    assert 'aria-checked="false" name="keep" value="yes"' in browser.get(LIST).content.decode()

    on = browser.post(f"{LIST}keep/", {"keep": "yes"}, follow=True).content.decode()
    kept = AliasPreferences.objects.get(user=alice).keeps_returned
    off = browser.post(f"{LIST}keep/", {"keep": "no"}, follow=True).content.decode()

    assert kept
    assert 'aria-checked="true" name="keep" value="no"' in on
    assert "are kept from now on" in on
    assert 'aria-checked="false"' in off
    assert not AliasPreferences.objects.get(user=alice).keeps_returned


def test_many_are_shown_in_pages_with_the_same_statements(
    browser: Client, alice: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    alias = issue(owner=alice)
    start = timezone.now() - timedelta(days=2)
    for number in range(PAGE_SIZE + 2):
        failed = fail(alias, sender=f"s{number}@sender.test", moment=start + timedelta(minutes=number))
        ReturnedMessage.keep(failed, b"Subject: x\r\n\r\n")
    browser.get(LIST)

    # The session, the user; what the frame shows: managed domains, paused ones; the preferences, the page.
    with django_assert_num_queries(6):
        first = browser.get(LIST)
    cursor = first.context["page"].next_cursor
    second = browser.get(f"{LIST}?cursor={cursor}").content.decode()

    assert f"s{PAGE_SIZE + 1}@sender.test" in first.content.decode()
    assert "s1@sender.test" in second
    assert "s0@sender.test" in second
    assert "s2@sender.test" not in second
