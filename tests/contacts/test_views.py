"""The pages about correspondents."""

import re
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Admits, Alias
from contacts.book import add_contact
from contacts.models import Contact
from contacts.views import PAGE_SIZE
from core.ratelimit import Counter
from mail.models import Activity, Event

pytestmark = pytest.mark.django_db


@pytest.fixture
def alias(alice: User) -> Alias:
    return issue(owner=alice)


def url(alias: Alias, query: str = "") -> str:
    return f"/aliases/{alias.pk}/contacts/{query}"


def known(alias: Alias, text: str = "Jane Doe <jane@shop.test>", **values: object) -> Contact:
    contact, _existed = add_contact(alias, text)
    Contact.objects.filter(pk=contact.pk).update(**values)
    contact.refresh_from_db()
    return contact


def test_the_list_shows_who_writes_with_figures(browser: Client, alias: Alias) -> None:
    hour_ago = timezone.now() - timedelta(hours=1)
    contact = known(alias, forwards=12, replies=3, blocks=2, last_forward_at=hour_ago)

    page = browser.get(url(alias)).content.decode()

    for shown in ("jane@shop.test", "Jane Doe", "received 12", "sent 3", "blocked 2", "1 hour ago"):
        assert shown in page
    assert f'data-copy="{contact.reverse_address}"' in page
    assert f'href="mailto:{contact.reverse_address}"' in page


def test_an_address_in_a_way_to_write_out(browser: Client, alias: Alias) -> None:
    answer = browser.post(url(alias), {"contact": "Bob <Bob@Elsewhere.TEST>"}, follow=True)

    contact = Contact.objects.get()
    page = answer.content.decode()
    assert (contact.alias, contact.address, contact.name) == (alias, "bob@elsewhere.test", "Bob")
    assert answer.redirect_chain == [(f"{url(alias)}?new={contact.pk}", 302)]
    assert f'data-copy="{contact.reverse_address}" data-copied="Copied" autofocus' in page
    assert "alias--new" in page


def test_somebody_who_is_there_already_is_shown_and_not_made_twice(browser: Client, alias: Alias) -> None:
    contact = known(alias)

    answer = browser.post(url(alias), {"contact": "jane@shop.test"})

    assert answer["Location"] == f"{url(alias)}?new={contact.pk}"
    assert Contact.objects.count() == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("nonsense", "This is not a valid e-mail address."),
        ("a@b.test\x00", "Null characters are not allowed."),
        ("x" * 1000 + "@b.test", "Ensure this value has at most"),
        (f"r.{'a' * 26}@example.com", "This is a reverse address."),
        ("", "This field is required."),
    ],
)
def test_what_is_no_correspondent_is_refused_with_the_reason(
    browser: Client, alias: Alias, text: str, sentence: str
) -> None:
    answer = browser.post(url(alias), {"contact": text})

    assert answer.status_code == 422
    assert sentence in answer.content.decode()
    assert not Contact.objects.exists()


def test_an_alias_is_no_correspondent_of_its_own(browser: Client, alias: Alias) -> None:
    assert browser.post(url(alias), {"contact": alias.address}).status_code == 422


def test_no_more_are_added_in_a_day_than_the_limit(browser: Client, alias: Alias, settings: Settings) -> None:
    settings.CONTACTS_PER_DAY = 1
    known(alias)

    answer = browser.post(url(alias), {"contact": "bob@elsewhere.test"})

    assert answer.status_code == 422
    assert "You have added too many contacts for now." in answer.content.decode()
    assert Contact.objects.count() == 1


def test_the_search_finds_names_and_addresses(browser: Client, alias: Alias) -> None:
    known(alias)
    known(alias, "bob@elsewhere.test")

    def found(text: str) -> set[str]:
        page = browser.get(url(alias), {"q": text}).content.decode()
        return set(re.findall(r"<b>(\w+)@", page))

    assert found("DOE") == found("shop.test") == {"jane"}
    assert found("elsewhere") == {"bob"}
    assert found("e") == {"jane", "bob"}
    assert found("\x00") == found("") == {"jane", "bob"}
    assert found("nobody") == set()
    fragment = browser.get(url(alias), {"q": "bob"}, headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in fragment
    assert "bob@elsewhere.test" in fragment


@pytest.mark.parametrize("new", ["x", "9" * 30, "²", "0", ""])
def test_a_new_one_that_is_none_is_ignored(browser: Client, alias: Alias, new: str) -> None:
    known(alias)

    assert "alias--new" not in browser.get(url(alias), {"new": new}).content.decode()


def test_a_switch_blocks_and_unblocks(browser: Client, alias: Alias) -> None:
    contact = known(alias)

    row = browser.post(f"/contacts/{contact.pk}/block/", headers={"HX-Request": "true"}).content.decode()
    contact.refresh_from_db()
    assert contact.blocked
    assert 'aria-checked="false"' in row
    assert "Mail from jane@shop.test is now refused." in row

    for came_from, there in (
        ("alias", f"/aliases/{alias.pk}/?back=q%3Dshop"),
        ("list", "/aliases/?q=shop"),
    ):
        form = {"next": came_from, "back": "q=shop"}
        answer = browser.post(f"/contacts/{contact.pk}/block/", form)
        assert answer.headers["Location"] == there
    answer = browser.post(f"/contacts/{contact.pk}/unblock/", {"next": "detail"})
    contact.refresh_from_db()
    assert not contact.blocked
    assert answer["Location"] == f"/contacts/{contact.pk}/"


def test_a_stranger_who_waits_comes_first_and_is_let_in(browser: Client, alias: Alias) -> None:
    alias.edit(admits=Admits.KNOWN_LATER)
    stranger = known(alias, "stranger@shop.test", waiting=True)
    known(alias)

    page = browser.get(url(alias)).content.decode()
    of_alias = browser.get(f"/aliases/{alias.pk}/").content.decode()
    browser.post(f"/contacts/{stranger.pk}/unblock/")

    assert page.index("stranger@shop.test") < page.index("jane@shop.test")
    assert "Waits for you" in page
    assert "takes mail only from people that you know" in page
    assert "1 waits for you" in of_alias
    assert not Contact.objects.get(pk=stranger.pk).waiting


def test_a_name_is_changed_and_kept(browser: Client, alias: Alias) -> None:
    contact = known(alias)

    answer = browser.post(f"/contacts/{contact.pk}/", {"name": "Jane from the shop"}, follow=True)

    contact.refresh_from_db()
    assert (contact.name, contact.is_name_kept) == ("Jane from the shop", True)
    assert "Saved." in answer.content.decode()


def test_a_name_that_is_none_is_refused(browser: Client, alias: Alias) -> None:
    contact = known(alias)

    assert browser.post(f"/contacts/{contact.pk}/", {"name": "x" * 1000}).status_code == 422
    assert Contact.objects.get().name == "Jane Doe"


def test_deleting_asks_first(browser: Client, alias: Alias) -> None:
    contact = known(alias)

    asked = browser.get(f"/contacts/{contact.pk}/remove/").content.decode()
    assert Contact.objects.exists()
    answer = browser.post(f"/contacts/{contact.pk}/remove/")

    assert "The reverse address stops working for good" in asked
    assert answer["Location"] == url(alias)
    assert not Contact.objects.exists()


@pytest.mark.parametrize("of", ["stranger", "deleted alias"])
def test_what_is_not_mine_does_not_exist(browser: Client, alias: Alias, root: User, of: str) -> None:
    if of == "stranger":
        alias = issue(owner=root, domain="example.com")
    contact = known(alias)
    if of == "deleted alias":
        alias.soft_delete()
    paths = [
        url(alias),
        *(f"/contacts/{contact.pk}/{deed}" for deed in ("", "block/", "unblock/", "remove/")),
    ]

    for path in paths:
        assert browser.post(path, {"contact": "a@b.test", "name": "Mine"}).status_code == 404
    for path in (paths[0], paths[1], paths[4]):
        assert browser.get(path).status_code == 404

    after = Contact.objects.get()
    assert (after.blocked, after.name) == (False, "Jane Doe")


def test_the_page_says_what_a_direct_reply_would_show(browser: Client, alias: Alias) -> None:
    alias.edit(hides_replies=True)
    hiding = browser.get(url(alias)).content.decode()
    of_hiding = browser.get(f"/aliases/{alias.pk}/").content.decode()
    alias.edit(hides_replies=False)
    as_it_came = browser.get(url(alias)).content.decode()
    of_plain = browser.get(f"/aliases/{alias.pk}/").content.decode()

    warning = "a direct reply shows your own address"
    assert warning not in hiding
    assert "Replies hide you." in of_hiding
    assert warning in as_it_came
    assert warning in of_plain


def test_the_alias_page_changes_how_it_forwards_and_whom_it_takes(browser: Client, alias: Alias) -> None:
    page = browser.get(f"/aliases/{alias.pk}/")
    values = {name: value for name, value in page.context["form"].initial.items() if value is not None}

    answer = browser.post(
        f"/aliases/{alias.pk}/", {**values, "hides_replies": "False", "admits": Admits.KNOWN_LATER}
    )

    assert answer.status_code == 302
    alias.refresh_from_db()
    assert (alias.hides_replies, alias.admits) == (False, Admits.KNOWN_LATER)
    assert browser.post(f"/aliases/{alias.pk}/", {**values, "admits": "nobody"}).status_code == 422
    assert browser.post(f"/aliases/{alias.pk}/", {**values, "hides_replies": "x"}).status_code == 422


def test_many_are_shown_in_pages_with_the_same_statements(
    browser: Client, alias: Alias, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(PAGE_SIZE + 2):
        known(alias, f"c{number}@shop.test")
    Counter.objects.all().delete()
    cache.clear()

    # The session, the user; what the frame shows: managed domains, paused ones; the alias, the page.
    with django_assert_num_queries(6):
        first = browser.get(url(alias), {"q": "shop"})
    second = browser.get(url(alias), {"q": "shop", "cursor": first.context["page"].next_cursor})

    assert f"c{PAGE_SIZE + 1}@" in first.content.decode()
    assert re.findall(r"<b>(c\d+)@", second.content.decode()) == ["c1", "c0"]


def test_the_list_of_aliases_shows_who_wrote_last_and_whom_one_can_block(
    browser: Client, alias: Alias
) -> None:
    Alias.objects.update(forwards=1)
    contact = known(alias)
    now = timezone.now()

    def note(sender: str, minutes: int, contact: Contact | None = None) -> None:
        moment = now - timedelta(minutes=minutes)
        Activity.objects.create(
            alias=alias, event=Event.FORWARD, sender=sender, contact=contact, moment=moment
        )

    def shown() -> tuple[bool, bool, bool]:
        page = browser.get("/aliases/").content.decode()
        return "old@shop.test" in page, "jane@shop.test" in page, f"/contacts/{contact.pk}/block/" in page

    assert shown() == (False, False, False)
    note("old@shop.test", 5)
    assert shown() == (True, False, False)
    note("bounces@mailer.test", 4, contact)
    assert shown() == (False, True, True)
    # A reply was sent by nobody outside.
    note("", 3, contact)
    assert shown() == (False, True, True)
    contact.block()
    assert shown() == (False, True, False)
