"""The pages on which aliases are made and changed: what they show, what they refuse and in which words."""

import re
from datetime import timedelta
from unittest.mock import patch

import pytest
from allauth.account.models import EmailAddress
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias, AliasPreferences
from aliases.validation import NOTE_MAX_CHARACTERS
from core.exceptions import RuleError
from domains.models import Domain
from tests.rig.pages import HTMX

pytestmark = pytest.mark.django_db


def test_who_has_no_domain_is_told_whom_to_ask(mallory: User, client: Client) -> None:
    client.force_login(mallory)

    for path in ("/aliases/", "/aliases/new/"):
        text = client.get(path).content.decode()
        assert "no domain on which you may create aliases" in text
        assert "manager or an admin of this server can give you access" in text


def test_a_new_alias_is_made_as_chosen(browser: Client, alice: User, other_org: Domain) -> None:
    other_org.grant(alice)
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    data = {
        "domain": other_org.pk,
        "hostname": "https://u:p@www.shop.test/x",
        "note": "n",
        "destinations": home.pk,
    }

    answer = browser.post("/aliases/new/", data, follow=True)

    alias = Alias.objects.get()
    assert re.fullmatch(r"shop\.[a-z]+@other\.org", alias.address)
    assert (alias.hostname, alias.note, alias.destination_addresses) == ("www.shop.test", "n", [home])
    assert "Your new alias is ready." in answer.content.decode()


def test_a_refused_new_alias_keeps_what_was_typed(
    browser: Client, alice: User, example_com: Domain, other_org: Domain, mallory: User
) -> None:
    hers = EmailAddress.objects.get(user=mallory)
    data = {"domain": other_org.pk, "hostname": "shop.test", "note": "x" * 10_001, "destinations": hers.pk}

    answer = browser.post("/aliases/new/", data)

    text = answer.content.decode()
    assert answer.status_code == 422
    assert 'value="shop.test"' in text
    assert text.count('class="errorlist"') == 3
    assert not Alias.objects.exists()


def test_a_refusal_of_the_rules_is_shown_on_the_form(
    browser: Client, alice: User, example_com: Domain
) -> None:
    example_com.alias_quota = 1
    example_com.save()
    issue(owner=alice)

    page = browser.post("/aliases/new/", {"domain": example_com.pk})
    quick = browser.post("/aliases/quick/", headers=HTMX)
    plain = browser.post("/aliases/quick/", follow=True)

    for answer in (page, quick, plain):
        assert "You already have 1 alias on this domain" in answer.content.decode()
    assert Alias.objects.count() == 1


def test_the_shape_of_a_name_is_shown_before_it_is_made(
    browser: Client, alice: User, example_com: Domain
) -> None:
    def shape(query: str) -> str:
        return browser.get(f"/aliases/shape/?{query}").content.decode()

    assert "github.‹word›@example.com" in shape("hostname=https://www.github.com/x")
    assert "‹word›.‹word0000›@example.com" in shape("hostname=%00")
    AliasPreferences.objects.create(user=alice, style="characters")
    assert "github.‹abc123de›@example.com" in shape(f"hostname=github.com&domain={example_com.pk}")
    assert "&lt;" not in shape("hostname=<script>")


def test_what_an_alias_is_for_is_changed(browser: Client, alice: User) -> None:
    alias = issue(owner=alice)
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    unverified = EmailAddress.objects.create(user=alice, email="new@home.test")
    data = {"note": "n", "hostname": "shop.test/x", "name": "N", "pinned": "on", "destinations": [home.pk]}

    browser.post(f"/aliases/{alias.pk}/", data)
    refused = browser.post(f"/aliases/{alias.pk}/", {**data, "note": "kept", "destinations": [unverified.pk]})
    none = browser.post(f"/aliases/{alias.pk}/", {**data, "note": "kept", "destinations": []})

    alias = Alias.objects.get()
    assert (alias.note, alias.hostname, alias.name, alias.pinned) == ("n", "shop.test", "N", True)
    assert alias.destination_addresses == [home]
    assert refused.status_code == none.status_code == 422
    assert "kept" in refused.content.decode()


@pytest.mark.parametrize(
    ("deed", "field", "expected"),
    [
        ("disable", "enabled", False),
        ("enable", "enabled", True),
        ("pin", "pinned", True),
        ("unpin", "pinned", False),
    ],
)
def test_a_switch_answers_the_row_or_goes_back(
    browser: Client, alice: User, deed: str, field: str, expected: bool
) -> None:
    alias = issue(owner=alice)
    Alias.objects.filter(pk=alias.pk).update(**{field: not expected})

    row = browser.post(f"/aliases/{alias.pk}/{deed}/", headers=HTMX)

    alias.refresh_from_db()
    assert getattr(alias, field) is expected
    assert f'id="alias-{alias.pk}"' in row.content.decode()
    assert "<html" not in row.content.decode()
    back = browser.post(f"/aliases/{alias.pk}/{deed}/", {"back": "q=a&next=https://evil.test"})
    assert back["Location"] == "/aliases/?q=a&next=https%3A%2F%2Fevil.test"


def test_deleting_is_undone_and_ends_after_thirty_days(browser: Client, alice: User) -> None:
    alias = issue(owner=alice)

    gone = browser.post(f"/aliases/{alias.pk}/delete/", headers=HTMX).content.decode()
    assert "Undo" in gone
    assert alias.address in browser.get("/aliases/deleted/").content.decode()
    back = browser.post(f"/aliases/{alias.pk}/restore/", headers=HTMX).content.decode()
    assert f'id="alias-{alias.pk}"' in back

    browser.post(f"/aliases/{alias.pk}/delete/")
    assert "1 alias has been deleted." in browser.get("/aliases/").content.decode()
    assert "1 alias has been deleted." not in browser.get("/aliases/").content.decode()
    Alias.objects.filter(pk=alias.pk).update(deleted_at=timezone.now() - timedelta(days=31))
    late = browser.post(f"/aliases/{alias.pk}/restore/", follow=True).content.decode()
    assert "can no longer be restored" in late


def test_several_are_changed_at_once_and_only_mine(browser: Client, alice: User, root: User) -> None:
    mine = [issue(owner=alice) for _ in range(3)]
    hers = issue(owner=root, domain="example.com")
    keys = [alias.pk for alias in mine[:2]] + [hers.pk, "x", "9" * 30]

    said = browser.post("/aliases/bulk/", {"action": "disable", "selected": keys}, follow=True)
    assert "2 aliases now refuse mail." in said.content.decode()
    assert set(Alias.objects.filter(enabled=False)) == set(mine[:2])

    browser.post("/aliases/bulk/", {"action": "delete", "selected": keys})
    page = browser.get("/aliases/").content.decode()
    assert "2 aliases have been deleted." in page
    moment = re.search(r'name="moment" value="(\S+?)"', page)
    assert moment
    browser.post("/aliases/undo/", {"moment": moment[1]})

    assert Alias.objects.present().count() == 4
    nothing = browser.post("/aliases/bulk/", {"action": "delete"}, follow=True)
    odd = browser.post("/aliases/bulk/", {"action": "explode", "selected": keys}, follow=True)
    for answer in (nothing, odd):
        assert "Select aliases first" in answer.content.decode()


def test_an_unknown_filter_leaves_the_others_alone(browser: Client, alice: User) -> None:
    found, other = (issue(owner=alice, note=note) for note in ("twice", "once"))

    text = browser.get("/aliases/?q=twice&order=new&status=odd&domain=0").content.decode()

    assert found.address in text
    assert other.address not in text


@pytest.mark.parametrize(
    ("words", "note", "hostname"),
    [
        ("Netflix account", "Netflix account", ""),
        ("  two  words ", "two  words", ""),
        ("https://shop.test/cart?id=1", "Website: shop.test", "shop.test"),
        ("shop", "Website: shop", "shop"),
        ("", "", ""),
    ],
)
def test_words_in_the_quick_field_are_kept(
    browser: Client, alice: User, words: str, note: str, hostname: str
) -> None:
    browser.post("/aliases/quick/", {"hostname": words})

    alias = Alias.objects.get()
    assert (alias.note, alias.hostname) == (note, hostname)


def test_no_form_takes_words_for_a_website(browser: Client, alice: User, example_com: Domain) -> None:
    alias = issue(owner=alice, hostname="shop.test")
    typed = {"hostname": "my shop", "note": "keep me", "domain": example_com.pk}

    for path in (f"/aliases/{alias.pk}/", "/aliases/new/"):
        answer = browser.post(path, typed)
        assert answer.status_code == 422
        assert "Write the website as www.github.com" in answer.content.decode()
        assert "keep me" in answer.content.decode()
    assert Alias.objects.get().hostname == "shop.test"


def test_a_deleted_alias_is_shown_to_its_owner_alone(browser: Client, alice: User, mallory: User) -> None:
    alias = issue(owner=alice)
    alias.soft_delete()
    stranger = Client()
    stranger.force_login(mallory)

    assert f"/aliases/{alias.pk}/restore/" in browser.get(f"/aliases/{alias.pk}/").content.decode()
    assert stranger.get(f"/aliases/{alias.pk}/").status_code == 404
    Alias.objects.filter(pk=alias.pk).strip()
    assert browser.get(f"/aliases/{alias.pk}/").status_code == 404


def test_a_note_is_changed_in_its_row(browser: Client, alice: User) -> None:
    alias = issue(owner=alice, note="Old")

    answer = browser.post(f"/aliases/{alias.pk}/note/", {"note": "<b>New</b>"}, headers=HTMX)

    alias.refresh_from_db()
    assert alias.note == "<b>New</b>"
    assert "&lt;b&gt;New&lt;/b&gt;</a>" in answer.content.decode()
    assert browser.post(f"/aliases/{alias.pk}/note/", {"note": ""})["Location"] == "/aliases/"
    alias.refresh_from_db()
    assert alias.note == ""


def test_a_note_that_is_too_long_is_refused_above_the_list(browser: Client, alice: User) -> None:
    alias = issue(owner=alice, note="Old")
    too_long = {"note": "x" * (NOTE_MAX_CHARACTERS + 1)}

    answer = browser.post(f"/aliases/{alias.pk}/note/", too_long, headers=HTMX)

    assert (answer["HX-Retarget"], answer["HX-Reswap"]) == ("#created", "innerHTML")
    assert "notice--error" in answer.content.decode()
    assert browser.post(f"/aliases/{alias.pk}/note/", too_long)["Location"] == f"/aliases/{alias.pk}/"
    alias.refresh_from_db()
    assert alias.note == "Old"


def test_a_strangers_note_does_not_exist(browser: Client, mallory: User, other_org: Domain) -> None:
    other_org.grant(mallory)
    theirs = issue(owner=mallory, note="Theirs")

    assert browser.post(f"/aliases/{theirs.pk}/note/", {"note": "x"}).status_code == 404
    theirs.refresh_from_db()
    assert theirs.note == "Theirs"


def test_an_alias_shows_its_last_five_activities_and_all_of_them_when_asked(
    browser: Client, alice: User
) -> None:
    alias = issue(owner=alice)
    for number in range(7):
        alias.activities.create(sender=f"s{number}@far.test", event="forward")

    short = browser.get(f"/aliases/{alias.pk}/").content.decode()
    whole = browser.get(f"/aliases/{alias.pk}/?activity=all").content.decode()

    assert re.findall(r"s(\d)@far", short) == list("65432")
    assert re.findall(r"s(\d)@far", whole) == list("6543210")
    assert ("Show all" in short, "Show all" in whole) == (True, False)


def test_a_part_of_the_settings_with_something_wrong_is_open(browser: Client, alice: User) -> None:
    alias = issue(owner=alice)

    shown = browser.get(f"/aliases/{alias.pk}/").content.decode()
    refused = browser.post(f"/aliases/{alias.pk}/", {"idle_days": "-1"})

    assert shown.count('<details class="part" open>') == 1
    assert refused.status_code == 422
    # The number of days is wrong, and a destination is missing.
    assert refused.content.decode().count('<details class="part" open>') == 3


@pytest.mark.parametrize("path", ["/aliases/quick/", "/aliases/new/"])
def test_a_form_that_is_sent_twice_makes_one_alias(
    alice: User, example_com: Domain, browser: Client, path: str
) -> None:
    """As by a double click in a browser without scripts."""
    page = "/aliases/new/" if path == "/aliases/new/" else "/aliases/"

    def fill() -> dict[str, str]:
        token = re.search(r'csrfmiddlewaretoken" value="(\w+)"', browser.get(page).content.decode())
        assert token
        return {"csrfmiddlewaretoken": token[1], "hostname": "github.com", "domain": str(example_com.pk)}

    filled = fill()
    browser.post(path, filled)
    second = browser.post(path, filled, follow=True).content.decode()

    assert Alias.objects.count() == 1
    assert "The form was sent twice; the second time was ignored." in second
    # The same words from another page, and other words from the same page, are meant.
    browser.post(path, fill())
    browser.post(path, {**filled, "hostname": "shop.test"})
    assert Alias.objects.count() == 3


@pytest.mark.parametrize("fault", [OperationalError("busy"), RuleError("no")], ids=["error", "refusal"])
@pytest.mark.parametrize("path", ["/aliases/quick/", "/aliases/new/"])
def test_a_form_that_made_no_alias_may_be_sent_again(
    alice: User, example_com: Domain, browser: Client, path: str, fault: Exception
) -> None:
    """As by reloading the page of an error."""
    filled = {"csrfmiddlewaretoken": "a", "hostname": "github.com", "domain": str(example_com.pk)}
    browser.raise_request_exception = False
    with patch("aliases.views.issue", side_effect=fault), patch("aliases.forms.issue", side_effect=fault):
        browser.post(path, filled)
    assert not Alias.objects.exists()

    said = browser.post(path, filled, follow=True).content.decode()

    assert Alias.objects.count() == 1
    assert "ignored" not in said
