"""The list of aliases: its pages, its rows, and what it costs."""

import re
from unittest.mock import patch

import pytest
from allauth.account.models import EmailAddress
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from aliases.filters import ORDERS
from aliases.issuing import issue
from aliases.models import Alias, AliasExpiry, SenderDomain
from domains.models import Domain
from mail.models import Activity, Event
from tests.rig.pages import HTMX, many_aliases

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("path", "statements"), [("/aliases/", 10), ("/aliases/?q=site&order=address&status=active", 11)]
)
def test_the_list_takes_as_many_statements_for_thousands_of_aliases_as_for_one(
    browser: Client, alice: User, example_com: Domain, path: str, statements: int
) -> None:
    def cost() -> tuple[int, int]:
        with CaptureQueriesContext(connection) as queries:
            answer = browser.get(path)
        assert answer.status_code == 200
        return len(queries), len(answer.content)

    # They are below short lists alone.
    User.objects.update(has_first_steps=False)
    many_aliases(alice, example_com, 1)
    few = cost()
    many_aliases(alice, example_com, 5000)
    many = cost()

    # session, user, preferences, domain to create on, what pages warn of, manager of a domain?, filter's
    # domains, its mailboxes, aliases, destinations; with a filter, the number of aliases found apart
    assert many[0] == few[0] == statements
    assert many[1] < 80_000


@pytest.mark.parametrize("aliases", [0, 1, 25, 26])
def test_the_first_page_is_the_same_whichever_way_it_is_read(
    browser: Client, alice: User, example_com: Domain, aliases: int
) -> None:
    """Its statements are built once; those of a list that begins with the rows shown before are not."""
    second = EmailAddress.objects.create(user=alice, email="second@home.example", verified=True)
    many_aliases(alice, example_com, aliases)
    for number, alias in enumerate(Alias.objects.owned_by(alice)):
        alias.edit(pinned=number % 5 == 0, note=f"<{number}>" if number % 2 else "")
        if number % 3 == 0:
            alias.set_destinations([alice.email, second.email])
            AliasExpiry.objects.create(alias=alias, idle_days=30)
            SenderDomain.objects.create(alias=alias, domain="new.example")
            Activity.objects.create(alias=alias, event=Event.FORWARD, sender="a<b@x.example")
        Alias.objects.filter(pk=alias.pk).update(forwards=number % 4, blocks=number % 3)

    def shown(path: str) -> str:
        answer = browser.get(path, headers=HTMX).content.decode()
        return re.sub(r'csrfmiddlewaretoken" value="\w+|(&amp;)?rows=25(?=[&"])', "", answer)

    for order in ORDERS:
        path = f"/aliases/?order={order}"
        assert shown(path) == shown(f"{path}&rows=25")
        assert shown(path).count('class="alias"') == min(aliases, 25)


def test_the_pages_of_the_list_show_every_alias_once(
    browser: Client, alice: User, example_com: Domain
) -> None:
    many_aliases(alice, example_com, 90)
    Alias.objects.filter(address__startswith="site7").update(pinned=True)

    for order in ("", "newest", "oldest", "address", "forwards", "blocks"):
        seen: list[str] = []
        path = f"/aliases/?order={order}"
        while path:
            text = browser.get(path).content.decode()
            seen += re.findall(r'data-copy="(\S+?)"', text)
            link = re.search(r'href="(\?[^"]*cursor=[^"]+)"', text)
            path = "/aliases/" + link[1].replace("&amp;", "&") if link else ""
        assert len(seen) == len(set(seen)) == 90, order
        if order == "":
            assert all(address.startswith("site7") for address in seen[:11])
        if order == "address":
            assert seen == sorted(seen)


def test_a_list_can_begin_with_the_rows_that_were_shown_before(
    browser: Client, alice: User, example_com: Domain
) -> None:
    many_aliases(alice, example_com, 90)

    def shown(query: str) -> int:
        return browser.get(f"/aliases/?{query}").content.decode().count('class="alias"')

    assert shown("rows=75") == 75
    assert shown("rows=100") == 90
    assert shown("rows=3") == shown("rows=x") == shown("rows=-5") == shown(f"rows={'9' * 5000}") == 25
    with patch("aliases.views.ROWS_MAX", 50):
        assert shown("rows=75") == 50


def test_rows_that_follow_change_the_address_as_far_as_it_can_be_shown_again(
    browser: Client, alice: User, example_com: Domain
) -> None:
    many_aliases(alice, example_com, 60)
    link = re.search(
        r'hx-get="(\S+)"', browser.get("/aliases/?q=site").content.decode().split("aliases__next")[1]
    )
    assert link

    def address(query: str) -> str:
        return browser.get(query, headers=HTMX).headers.get("HX-Replace-Url", "")

    after_25 = link[1].replace("&amp;", "&")
    assert address(after_25) == "/aliases/?q=site&rows=50"
    assert address(after_25.replace("rows=25&", "")) == ""
    with patch("aliases.views.ROWS_MAX", 40):
        assert address(after_25) == ""


@pytest.mark.parametrize(
    "cursor", ["x", "%00", "bnVsbA", "W10", "WyItcGlubmVkIl0", "e30", "A" * 3000, "WyJhIix7fV0"]
)
def test_a_cursor_that_is_none_gives_the_first_page(
    browser: Client, alice: User, example_com: Domain, cursor: str
) -> None:
    many_aliases(alice, example_com, 2)

    answer = browser.get(f"/aliases/?cursor={cursor}")

    assert answer.status_code == 200
    assert answer.content.decode().count('class="alias"') == 2


def test_the_list_is_searched_and_filtered(
    browser: Client, alice: User, other_org: Domain, example_com: Domain
) -> None:
    other_org.grant(alice)
    github = issue(owner=alice, hostname="github.com", note="Code 100%")
    shop = issue(owner=alice, hostname="shop.test", note="Schuhe", domain="other.org")
    shop.disable()
    Alias.objects.filter(pk=github.pk).update(forwards=1)

    def shown(query: str) -> set[str]:
        text = browser.get(f"/aliases/?{query}", headers=HTMX).content.decode()
        return set(re.findall(r'data-copy="(\S+?)"', text))

    assert shown("") == {github.address, shop.address}
    assert shown("q=GITHUB") == shown("q=code+100%25") == shown("status=active") == {github.address}
    assert shown("q=schuhe") == shown("status=disabled") == shown("status=unused") == {shop.address}
    assert shown(f"domain={other_org.pk}") == {shop.address}
    assert shown("q=_") == set()
    assert shown("q=%00&status=odd&domain=999&order=odd") == {github.address, shop.address}


def test_a_row_shows_everything_and_escapes_it(browser: Client, alice: User) -> None:
    alias = issue(owner=alice, hostname="bücher.example", note="<script>alert(1)</script>")
    Alias.objects.filter(pk=alias.pk).update(forwards=3, blocks=2)

    text = browser.get("/aliases/").content.decode()

    for words in (alias.address, "bücher.example", "alice@example.com", "forwarded 3", "blocked 2", "Active"):
        assert words in text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_times_are_in_the_readers_zone(browser: Client, alice: User) -> None:
    alias = issue(owner=alice)
    Alias.objects.filter(pk=alias.pk).update(created="2026-01-31T23:30:00Z")

    assert "Jan. 31, 2026" in browser.get("/aliases/").content.decode()
    browser.cookies["tz"] = "Europe/Berlin"
    assert "Feb. 1, 2026" in browser.get("/aliases/").content.decode()
    browser.cookies["tz"] = "../../etc/passwd"
    assert "Jan. 31, 2026" in browser.get("/aliases/").content.decode()
