"""The pages: what they show, what they refuse and in which words, and what they cost."""

import base64
import csv
import io
import json
import re
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine
from allauth.account.models import EmailAddress
from django.core import mail
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from aliases.models import Alias
from aliases.preferences import AliasPreferences
from anonmail_site.wsgi import application
from domains.models import AccessGrant, Domain
from tokens.models import Token

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}


@pytest.fixture
def browser(alice: User, client: Client) -> Client:
    """Alice's, signed in a moment ago."""
    client.post("/accounts/login/", {"login": alice.email, "password": "alice-password-1"})
    return client


def many_aliases(owner: User, domain: Domain, number: int) -> None:
    """Aliases by the thousand, as rows."""
    start = Alias.objects.count()
    Alias.objects.bulk_create(
        Alias(
            address=f"site{start + i}.word@{domain.name}",
            domain=domain,
            owner=owner,
            hostname=f"site{start + i}.test",
            note=f"Website: site{start + i}.test",
            active_at=timezone.now() - timedelta(minutes=i),
        )
        for i in range(number)
    )
    through = Alias.destinations.through
    primary = EmailAddress.objects.get(user=owner, primary=True)
    through.objects.bulk_create(
        through(alias_id=key, address=primary)
        for key in Alias.objects.filter(destination_links=None).values_list("pk", flat=True)
    )


# --- the list ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/aliases/", "/aliases/?q=site&order=address&status=active"])
def test_the_list_takes_as_many_statements_for_thousands_of_aliases_as_for_one(
    browser: Client, alice: User, example_com: Domain, path: str
) -> None:
    def cost() -> tuple[int, int]:
        with CaptureQueriesContext(connection) as queries:
            answer = browser.get(path)
        assert answer.status_code == 200
        return len(queries), len(answer.content)

    many_aliases(alice, example_com, 1)
    few = cost()
    many_aliases(alice, example_com, 5000)
    many = cost()

    # session, user, manager of a domain?, default domain, filter's domains (twice for a bound field),
    # aliases, destinations
    assert many[0] == few[0] <= 9
    assert many[1] < 80_000


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
            seen += re.findall(r'class="address" href="/aliases/\d+/">(\S+?)<', text)
            link = re.search(r'href="(\?[^"]*cursor=[^"]+)"', text)
            path = "/aliases/" + link[1].replace("&amp;", "&") if link else ""
        assert len(seen) == len(set(seen)) == 90, order
        if order == "":
            assert all(address.startswith("site7") for address in seen[:11])
        if order == "address":
            assert seen == sorted(seen)


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
    github = Alias.objects.issue(owner=alice, hostname="github.com", note="Code 100%")
    shop = Alias.objects.issue(owner=alice, hostname="shop.test", note="Schuhe", domain="other.org")
    shop.disable()
    Alias.objects.filter(pk=github.pk).update(forwards=1)

    def shown(query: str) -> set[str]:
        text = browser.get(f"/aliases/?{query}", headers=HTMX).content.decode()
        return set(re.findall(r'class="address" href="/aliases/\d+/">(\S+?)<', text))

    assert shown("") == {github.address, shop.address}
    assert shown("q=GITHUB") == shown("q=code+100%25") == shown("status=active") == {github.address}
    assert shown("q=schuhe") == shown("status=disabled") == shown("status=unused") == {shop.address}
    assert shown(f"domain={other_org.pk}") == {shop.address}
    assert shown("q=_") == set()
    assert shown("q=%00&status=odd&domain=999&order=odd") == {github.address, shop.address}


def test_a_row_shows_everything_and_escapes_it(browser: Client, alice: User) -> None:
    alias = Alias.objects.issue(owner=alice, hostname="bücher.example", note="<script>alert(1)</script>")
    Alias.objects.filter(pk=alias.pk).update(forwards=3, blocks=2)

    text = browser.get("/aliases/").content.decode()

    for words in (alias.address, "bücher.example", "alice@example.com", "forwarded 3", "blocked 2", "Active"):
        assert words in text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_times_are_in_the_readers_zone(browser: Client, alice: User) -> None:
    alias = Alias.objects.issue(owner=alice)
    Alias.objects.filter(pk=alias.pk).update(created="2026-01-31T23:30:00Z")

    assert "Jan. 31, 2026" in browser.get("/aliases/").content.decode()
    browser.cookies["tz"] = "Europe/Berlin"
    assert "Feb. 1, 2026" in browser.get("/aliases/").content.decode()
    browser.cookies["tz"] = "../../etc/passwd"
    assert "Jan. 31, 2026" in browser.get("/aliases/").content.decode()


def test_who_has_no_domain_is_told_whom_to_ask(mallory: User, client: Client) -> None:
    client.force_login(mallory)

    for path in ("/aliases/", "/aliases/new/"):
        text = client.get(path).content.decode()
        assert "no domain on which you may create aliases" in text
        assert "granted per domain by its manager" in text


# --- making and changing -------------------------------------------------------------------------


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
    Alias.objects.issue(owner=alice)

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
    alias = Alias.objects.issue(owner=alice)
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
    alias = Alias.objects.issue(owner=alice)
    Alias.objects.filter(pk=alias.pk).update(**{field: not expected})

    row = browser.post(f"/aliases/{alias.pk}/{deed}/", headers=HTMX)

    alias.refresh_from_db()
    assert getattr(alias, field) is expected
    assert f'id="alias-{alias.pk}"' in row.content.decode()
    assert "<html" not in row.content.decode()
    back = browser.post(f"/aliases/{alias.pk}/{deed}/", {"back": "q=a&next=https://evil.test"})
    assert back["Location"] == "/aliases/?q=a&next=https%3A%2F%2Fevil.test"


def test_deleting_is_undone_and_ends_after_thirty_days(browser: Client, alice: User) -> None:
    alias = Alias.objects.issue(owner=alice)

    gone = browser.post(f"/aliases/{alias.pk}/delete/", headers=HTMX).content.decode()
    assert "Undo" in gone
    assert browser.get(f"/aliases/{alias.pk}/").status_code == 404
    assert alias.address in browser.get("/aliases/deleted/").content.decode()
    back = browser.post(f"/aliases/{alias.pk}/restore/", headers=HTMX).content.decode()
    assert f'id="alias-{alias.pk}"' in back

    browser.post(f"/aliases/{alias.pk}/delete/")
    assert "1 alias is deleted." in browser.get("/aliases/").content.decode()
    assert "1 alias is deleted." not in browser.get("/aliases/").content.decode()
    Alias.objects.filter(pk=alias.pk).update(deleted_at=timezone.now() - timedelta(days=31))
    late = browser.post(f"/aliases/{alias.pk}/restore/", follow=True).content.decode()
    assert "can no longer be restored" in late


def test_several_are_changed_at_once_and_only_mine(browser: Client, alice: User, root: User) -> None:
    mine = [Alias.objects.issue(owner=alice) for _ in range(3)]
    hers = Alias.objects.issue(owner=root, domain="example.com")
    keys = [alias.pk for alias in mine[:2]] + [hers.pk, "x", "9" * 30]

    said = browser.post("/aliases/bulk/", {"action": "disable", "selected": keys}, follow=True)
    assert "2 aliases refuse mail now." in said.content.decode()
    assert set(Alias.objects.filter(enabled=False)) == set(mine[:2])

    browser.post("/aliases/bulk/", {"action": "delete", "selected": keys})
    page = browser.get("/aliases/").content.decode()
    assert "2 aliases are deleted." in page
    browser.post("/aliases/undo/", {"selected": keys})

    assert Alias.objects.present().count() == 4
    nothing = browser.post("/aliases/bulk/", {"action": "delete"}, follow=True)
    odd = browser.post("/aliases/bulk/", {"action": "explode", "selected": keys}, follow=True)
    for answer in (nothing, odd):
        assert "Select aliases first" in answer.content.decode()


# --- tokens --------------------------------------------------------------------------------------


def test_making_a_token_asks_for_a_recent_sign_in(alice: User, client: Client) -> None:
    client.post("/accounts/login/", {"login": alice.email, "password": "alice-password-1"})
    with time_machine.travel(timezone.now() + timedelta(minutes=10)):
        asked = client.get("/tokens/new/")
        tried = client.post("/tokens/new/", {"name": "x"})

    assert asked["Location"].startswith("/accounts/reauthenticate/")
    assert tried.status_code == 302
    assert not Token.objects.exists()


def test_a_token_is_shown_once_and_what_the_browser_sends_is_not_it(browser: Client, alice: User) -> None:
    answer = browser.post(
        "/tokens/new/",
        {"name": "phone", "secret": "A" * 48, "digest": "0" * 64, "days": "30", "networks": "192.0.2.7"},
    )

    token = Token.objects.get()
    text = answer.content.decode()
    key = re.search(r"alice@example\.com:([A-Za-z0-9]{48})", text)
    assert key
    assert key[1] != "A" * 48
    assert token.digest != "0" * 64
    assert "no-store" in answer["Cache-Control"]
    assert token.networks == ["192.0.2.7/32"]
    assert token.expires is not None
    for page in ("/tokens/", "/tokens/new/"):
        later = browser.get(page).content.decode()
        assert key[1] not in later
        assert token.digest not in later


def test_loading_the_shown_token_again_makes_no_second_one(browser: Client, alice: User) -> None:
    form = browser.get("/tokens/new/").content.decode()
    once = re.search(r'name="once" value="(\S+?)"', form)
    assert once
    data = {"name": "phone", "once": once[1]}

    first = browser.post("/tokens/new/", data)
    again = browser.post("/tokens/new/", data, follow=True)

    assert first.status_code == 200
    assert "This token was made already" in again.content.decode()
    assert Token.objects.count() == 1


def test_a_network_that_is_none_is_refused_beside_its_field(browser: Client) -> None:
    answer = browser.post("/tokens/new/", {"name": "phone", "networks": "192.0.2.7, home"})

    assert answer.status_code == 422
    assert "“home” is no network." in answer.content.decode()
    assert not Token.objects.exists()


# --- addresses -----------------------------------------------------------------------------------


def test_an_address_is_added_verified_by_mail_and_made_primary(
    browser: Client, alice: User, django_capture_on_commit_callbacks: Callable[..., object]
) -> None:
    browser.post("/addresses/", {"email": "Alice@Home.Test"})
    row = EmailAddress.objects.get(email="alice@home.test")
    assert not row.verified
    browser.post(f"/addresses/{row.pk}/primary/")
    row.refresh_from_db()
    assert not row.primary

    link = re.search(r"http://\S+(/accounts/confirm-email/\S+)", mail.outbox[-1].body)
    assert link
    assert mail.outbox[-1].to == ["alice@home.test"]
    browser.post(link[1])
    row.refresh_from_db()
    assert row.verified

    browser.post(f"/addresses/{row.pk}/primary/")
    alice.refresh_from_db()
    assert alice.email == "alice@home.test"


@pytest.mark.parametrize("form", ["{}", "Up{}", "tag+{}"])
def test_an_alias_cannot_become_an_own_address(browser: Client, alice: User, form: str) -> None:
    alias = Alias.objects.issue(owner=alice)
    local, _at, domain = alias.address.partition("@")
    written = {"{}": alias.address, "Up{}": alias.address.upper(), "tag+{}": f"{local}+tag@{domain}"}[form]

    answer = browser.post("/addresses/", {"email": written})

    assert answer.status_code == 422
    assert "This address cannot be used here." in answer.content.decode()
    assert EmailAddress.objects.count() == 1


def test_removing_an_address_leaves_no_alias_without_destination(browser: Client, alice: User) -> None:
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    alone = Alias.objects.issue(owner=alice, destinations=["alice@home.test"])
    deleted = Alias.objects.issue(owner=alice, destinations=["alice@home.test"])
    deleted.soft_delete()
    both = Alias.objects.issue(owner=alice, destinations=["alice@home.test", "alice@example.com"])
    primary = EmailAddress.objects.get(user=alice, primary=True)

    asked = browser.get(f"/addresses/{home.pk}/remove/").content.decode()
    assert "2 aliases forward here alone." in asked
    refused = browser.post(f"/addresses/{home.pk}/remove/").content.decode()
    assert "Choose where the aliases" in refused
    browser.post(f"/addresses/{home.pk}/remove/", {"move_to": home.pk})
    assert EmailAddress.objects.filter(pk=home.pk).exists()
    browser.post(f"/addresses/{home.pk}/remove/", {"move_to": primary.pk})

    assert not EmailAddress.objects.filter(pk=home.pk).exists()
    for alias in (alone, deleted, both):
        assert Alias.objects.get(pk=alias.pk).destination_addresses == [primary]


def test_the_primary_address_stays(browser: Client, alice: User) -> None:
    primary = EmailAddress.objects.get(user=alice)

    answer = browser.post(f"/addresses/{primary.pk}/remove/")

    assert "cannot be removed" in answer.content.decode()
    assert EmailAddress.objects.filter(pk=primary.pk).exists()


def test_the_sign_in_packages_own_address_page_leads_to_ours(browser: Client, alice: User) -> None:
    """It would remove an address without looking at the aliases."""
    Alias.objects.issue(owner=alice)

    answer = browser.post("/accounts/email/", {"email": alice.email, "action_remove": ""})

    assert answer["Location"] == "/addresses/"
    assert EmailAddress.objects.filter(user=alice).exists()


# --- account -------------------------------------------------------------------------------------


def test_preferences_are_kept_and_used(
    browser: Client, alice: User, other_org: Domain, example_com: Domain
) -> None:
    other_org.grant(alice)

    browser.post("/account/", {"default_domain": other_org.pk, "style": "uuid"})

    assert re.fullmatch(r"[0-9a-f-]{36}@other\.org", Alias.objects.issue(owner=alice).address)
    text = browser.get("/account/").content.decode()
    assert re.search(r"github\.[a-z]+@other\.org", text)
    assert re.search(r"github\.[a-z0-9]{8}@other\.org", text)
    refused = browser.post("/account/", {"default_domain": 999, "style": "odd"})
    assert refused.status_code == 422


def test_a_domain_without_right_cannot_be_the_default(
    browser: Client, alice: User, other_org: Domain
) -> None:
    assert browser.post("/account/", {"default_domain": other_org.pk, "style": "words"}).status_code == 422


def test_everything_about_me_is_downloaded_without_a_secret(browser: Client, alice: User) -> None:
    Alias.objects.issue(owner=alice, note="=HYPERLINK(1)", hostname="shop.test")
    Alias.objects.issue(owner=alice).soft_delete()
    token, _secret = Token.objects.issue(owner=alice, name="phone")

    document = json.loads(browser.get("/account/everything.json").content)
    text = b"".join(browser.get("/account/aliases.csv").streaming_content).decode()  # type: ignore[arg-type]
    rows = list(csv.DictReader(io.StringIO(text)))

    assert document["account"]["email"] == alice.email
    assert [alias["note"] for alias in document["aliases"]] == ["=HYPERLINK(1)", ""]
    assert document["tokens"][0]["name"] == "phone"
    assert token.digest not in json.dumps(document)
    assert alice.password not in json.dumps(document)
    assert [row["note"] for row in rows] == ["'=HYPERLINK(1)", ""]
    assert rows[0]["destinations"] == "alice@example.com"
    assert rows[1]["deleted"]


def test_my_account_is_deleted_after_my_address_is_typed(browser: Client, alice: User) -> None:
    alias = Alias.objects.issue(owner=alice, note="secret")

    wrong = browser.post("/account/delete/", {"confirm": "alice"})
    assert wrong.status_code == 422
    assert User.objects.filter(pk=alice.pk).exists()
    done = browser.post("/account/delete/", {"confirm": " Alice@example.com "}, follow=True)

    assert "Your account is deleted." in done.content.decode()
    assert not User.objects.filter(pk=alice.pk).exists()
    left = Alias.objects.get()
    assert (left.address, left.owner, left.note) == (alias.address, None, "")
    assert browser.get("/aliases/").status_code == 302


def test_the_last_global_admin_stays(root: User, client: Client) -> None:
    client.post("/accounts/login/", {"login": root.email, "password": "root-password-1"})

    answer = client.post("/account/delete/", {"confirm": root.email}, follow=True)

    assert "This is the last global admin." in answer.content.decode()
    assert User.objects.filter(pk=root.pk).exists()


# --- domains -------------------------------------------------------------------------------------


def test_a_manager_sees_the_own_domains_alone(browser: Client, alice: User, other_org: Domain) -> None:
    assert browser.get("/domains/").status_code == 404
    assert "/domains/" not in browser.get("/aliases/").content.decode()
    other_org.managers.add(alice)

    listed = browser.get("/domains/").content.decode()

    assert "other.org" in listed
    assert "/domains/example.com/" not in listed
    assert browser.get("/domains/example.com/").status_code == 404
    assert browser.post("/domains/example.com/", {"email": alice.email}).status_code == 404
    assert browser.get("/domains/no domain/").status_code == 404
    assert browser.get("/domains/OTHER.org/").status_code == 200


def test_an_inactive_managers_domains_are_nobodys(alice: User, other_org: Domain) -> None:
    other_org.managers.add(alice)
    alice.deactivate()

    assert not Domain.objects.managed_by(alice).exists()


def test_a_grant_answers_once_whether_there_is_an_account(
    browser: Client, alice: User, mallory: User, other_org: Domain, settings: Settings
) -> None:
    settings.GRANTS_PER_HOUR = 3
    other_org.managers.add(alice)

    said = browser.post("/domains/other.org/", {"email": " MALLORY@evil.test"}, follow=True).content.decode()
    again = browser.post("/domains/other.org/", {"email": mallory.email}, follow=True)
    unknown = browser.post("/domains/other.org/", {"email": "nobody@evil.test"})
    too_many = browser.post("/domains/other.org/", {"email": "nobody2@evil.test"})

    assert "mallory@evil.test may create aliases on other.org." in said
    assert again.status_code == 200
    assert AccessGrant.objects.get().granted_by == alice
    assert "Nobody signs in with this address." in unknown.content.decode()
    assert 'value="nobody@evil.test"' in unknown.content.decode()
    assert "Too many grants for now." in too_many.content.decode()


def test_revoking_says_that_aliases_go_on_delivering(
    browser: Client, alice: User, mallory: User, other_org: Domain, example_com: Domain
) -> None:
    other_org.managers.add(alice)
    grant = other_org.grant(mallory, granted_by=alice)
    elsewhere = example_com.grant(mallory)
    alias = Alias.objects.issue(owner=mallory, domain="other.org")

    assert browser.post(f"/domains/other.org/{elsewhere.pk}/revoke/").status_code == 404
    assert "go on delivering" in browser.get(f"/domains/other.org/{grant.pk}/revoke/").content.decode()
    assert AccessGrant.objects.filter(pk=grant.pk).exists()
    browser.post(f"/domains/other.org/{grant.pk}/revoke/")

    assert not AccessGrant.objects.filter(pk=grant.pk).exists()
    assert alias in Alias.objects.receiving()


def test_the_domain_pages_take_the_same_statements_for_many_grants(
    browser: Client, alice: User, root: User, other_org: Domain
) -> None:
    other_org.managers.add(alice)

    def statements(path: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert browser.get(path).status_code == 200
        return len(queries)

    other_org.grant(root, granted_by=alice)
    few = [statements(path) for path in ("/domains/", "/domains/other.org/", "/tokens/", "/addresses/")]
    for number in range(20):
        user = User.objects.create_user(f"user{number}@example.com")
        other_org.grant(user, granted_by=alice)
        Token.objects.issue(owner=alice, name=str(number))
        EmailAddress.objects.create(user=alice, email=f"alice{number}@home.test")

    many = [statements(path) for path in ("/domains/", "/domains/other.org/", "/tokens/", "/addresses/")]
    assert many == few


# --- everywhere ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/accounts/login/", "/aliases/", "/nothing/", "/admin/"])
def test_the_headers_are_strict(browser: Client, path: str) -> None:
    answer = browser.get(path, follow=True)

    policy = answer["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Referrer-Policy"] == "same-origin"
    assert answer["Cross-Origin-Opener-Policy"] == "same-origin"


def test_with_https_cookies_are_secure_and_hsts_is_on(settings: Settings) -> None:
    settings.SECURE_HSTS_SECONDS = 31536000
    settings.SECURE_SSL_REDIRECT = True

    page = Client().get("/accounts/login/", secure=True)
    plain = Client().get("/accounts/login/")
    api = Client().get("/api/user_info")

    assert page["Strict-Transport-Security"] == "max-age=31536000"
    assert (plain.status_code, plain["Location"]) == (301, "https://testserver/accounts/login/")
    assert api.status_code == 401


@pytest.mark.parametrize("path", ["/aliases/", "/tokens/", "/addresses/", "/account/", "/aliases/new/"])
def test_no_page_has_inline_script_or_style(browser: Client, alice: User, path: str) -> None:
    Alias.objects.issue(owner=alice)

    text = browser.get(path).content.decode()

    assert not re.search(r"<script(?![^>]*\bsrc=)", text)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=", text)


def test_errors_wear_the_sites_look(browser: Client, mallory: User) -> None:
    missing = browser.get("/nothing/")
    assert (missing.status_code, "There is no such page." in missing.content.decode()) == (404, True)

    browser.raise_request_exception = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aliases.views.page_of", lambda *args: 1 / 0)
        crashed = browser.get("/aliases/")
    assert crashed.status_code == 500
    assert "Something went wrong on our side." in crashed.content.decode()
    assert "ZeroDivisionError" not in crashed.content.decode()


def test_too_many_sign_ins_are_answered_in_the_sites_look(alice: User, client: Client) -> None:
    for _ in range(40):
        answer = client.post("/accounts/login/", {"login": f"x{_}@example.com", "password": "wrong"})

    assert answer.status_code == 429
    assert "Too many tries." in answer.content.decode()


def test_sign_up_is_closed_unless_opened(client: Client, settings: Settings) -> None:
    data = {"email": "new@new.test", "password1": "a-long-password-1", "password2": "a-long-password-1"}
    client.post("/accounts/signup/", data)
    assert not User.objects.exists()

    settings.SIGNUP_OPEN = True
    client.post("/accounts/signup/", data)

    assert not EmailAddress.objects.get().verified
    assert client.get("/aliases/").status_code == 302


def test_signing_in_leads_nowhere_but_here(alice: User, client: Client) -> None:
    data = {"login": alice.email, "password": "alice-password-1"}

    answer = client.post("/accounts/login/?next=https://evil.test/", data)

    assert answer["Location"] == "/aliases/"


# --- what an attacker tried ----------------------------------------------------------------------


def cursor_of(*values: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("order", "values"),
    [
        ("address", ("address", "\ud800")),
        ("newest", ("-created,-id", "0001-01-01T00:00:00+23:59", 1)),
        ("newest", ("-created,-id", "9999-12-31T23:59:59-23:59", 1)),
        ("forwards", ("-forwards,-id", 2**70, 1)),
        ("", ("-pinned,-active_at,-id", 1, "x", "y")),
    ],
)
def test_a_crafted_cursor_gives_the_first_page(
    browser: Client, alice: User, order: str, values: tuple[object, ...]
) -> None:
    Alias.objects.issue(owner=alice)

    answer = browser.get("/aliases/", {"order": order, "cursor": cursor_of(*values)})

    assert answer.status_code == 200
    assert answer.content.decode().count('class="alias"') == 1


def test_keys_that_no_row_can_have_are_refused_in_words(
    browser: Client, alice: User, example_com: Domain
) -> None:
    huge = "9" * 30
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    Alias.objects.issue(owner=alice, destinations=["alice@home.test"])

    assert browser.post("/aliases/new/", {"domain": example_com.pk, "destinations": huge}).status_code == 422
    assert browser.get("/aliases/shape/", {"destinations": huge}).status_code == 200
    removal = browser.post(f"/addresses/{home.pk}/remove/", {"move_to": "1" * 5000})
    assert "Choose where the aliases" in removal.content.decode()


@pytest.mark.parametrize("url", ["http://[", "http://x//evil.test/", "\\\\evil.test", "javascript:alert(1)"])
def test_the_way_back_after_signing_in_is_on_this_site(client: Client, db: None, url: str) -> None:
    answer = client.get("/aliases/", headers={**HTMX, "HX-Current-URL": url})

    target = parse_qs(urlsplit(answer["HX-Redirect"]).query)["next"][0]
    assert target.startswith("/")
    assert not target.startswith(("//", "/\\"))


@pytest.mark.parametrize(
    "charset", ["rot13", "undefined", "zlib", "idna", "punycode", "unicode_escape", "utf-7"]
)
@pytest.mark.parametrize("path", ["/aliases/?q=x", "/api/v2/aliases?page_id=0", "/accounts/login/?next=x"])
def test_a_charset_that_is_none_breaks_nothing(db: None, charset: str, path: str) -> None:
    """Through the WSGI application, as gunicorn calls it: Django reads the query before any middleware."""
    name, _mark, query = path.partition("?")
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": name,
        "QUERY_STRING": query,
        "SERVER_NAME": "testserver",
        "SERVER_PORT": "80",
        "HTTP_HOST": "testserver",
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_TYPE": f"application/json; charset={charset}",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.url_scheme": "http",
    }
    statuses: list[str] = []

    body = application(environ, lambda status, headers: statuses.append(status))
    list(body)
    body.close()  # type: ignore[attr-defined]

    assert statuses[0][:3] in {"200", "302", "401"}


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost:6666", "testserver"])
def test_mailed_links_lead_to_this_site_whatever_host_was_named(alice: User, host: str) -> None:
    Client().post("/accounts/password/reset/", {"email": alice.email}, HTTP_HOST=host)

    links = re.findall(r"https?://\S+", mail.outbox[-1].body)
    assert any("/password/reset/key/" in link for link in links)
    assert all(link.startswith("http://127.0.0.1:8000/") for link in links if "/accounts/" in link)


def test_adding_addresses_is_limited_so_that_it_finds_no_aliases(
    browser: Client, alice: User, settings: Settings
) -> None:
    settings.ADDRESSES_PER_HOUR = 2
    for number in range(2):
        browser.post("/addresses/", {"email": f"guess{number}@example.com"})

    refused = browser.post("/addresses/", {"email": "guess3@example.com"}, follow=True)

    assert "Too many tries for now." in refused.content.decode()
    assert EmailAddress.objects.filter(user=alice).count() == 3


def test_no_cache_keeps_what_a_signed_in_person_sees(browser: Client) -> None:
    answer = browser.get("/aliases/")

    assert "no-store" in answer["Cache-Control"]
    assert "HX-Request" in answer["Vary"]
