"""Making an alias: which domain, which destinations, which note."""

import pytest
from allauth.account.models import EmailAddress
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from aliases import exceptions as refusals
from aliases.issuing import issue
from aliases.models import Alias, AliasPreferences
from aliases.validation import DESTINATIONS_MAX, NOTE_MAX_CHARACTERS
from core.ratelimit import Counter
from domains.models import Audience, Domain
from tokens.credentials import Credentials, find_token
from tokens.models import Token


def sent_to(alias: Alias) -> list[str]:
    return [address.email for address in Alias.objects.get(pk=alias.pk).destination_addresses]


# --- Which domain ------------------------------------------------------------------------------


def prefer(user: User, domain: Domain) -> None:
    AliasPreferences.objects.create(user=user, default_domain=domain)


@pytest.fixture
def everyones(db: None) -> Domain:
    """A domain on which everybody may create; the first by name."""
    return Domain.objects.create(name="aaa.test", anonmail_enabled=True, audience=Audience.EVERYONE)


def test_the_domain_asked_for_comes_first(alice: User, everyones: Domain, other_org: Domain) -> None:
    other_org.grant(alice)
    prefer(alice, everyones)

    assert issue(owner=alice, domain="other.org").domain == other_org


@pytest.mark.parametrize("asked", ["OTHER.org", " other.org. "])
def test_the_domain_may_be_asked_for_in_any_case(alice: User, other_org: Domain, asked: str) -> None:
    other_org.grant(alice)

    assert issue(owner=alice, domain=asked).domain == other_org


def test_the_domain_may_be_asked_for_by_u_label(alice: User) -> None:
    domain = Domain.objects.create(name="bücher.example", anonmail_enabled=True, audience=Audience.EVERYONE)

    alias = issue(owner=alice, domain="Bücher.example")

    assert alias.domain == domain
    assert alias.address.endswith("@xn--bcher-kva.example")


def test_without_one_the_default_domain_is_taken(alice: User, everyones: Domain, other_org: Domain) -> None:
    other_org.grant(alice)
    prefer(alice, other_org)

    assert issue(owner=alice).domain == other_org


@pytest.mark.parametrize("why", ["toggle off", "no right"])
def test_a_default_domain_that_is_not_usable_is_passed_over(
    alice: User, everyones: Domain, example_com: Domain, other_org: Domain, why: str
) -> None:
    if why == "toggle off":
        other_org.grant(alice)
        other_org.set_anonmail(False)
    prefer(alice, other_org)

    assert issue(owner=alice).domain == example_com


def test_without_a_default_the_domain_of_the_own_address_is_taken(
    alice: User, everyones: Domain, example_com: Domain
) -> None:
    assert issue(owner=alice).domain == example_com


def test_else_the_first_by_name_is_taken(mallory: User, everyones: Domain, example_com: Domain) -> None:
    Domain.objects.create(name="aab.test", anonmail_enabled=True, audience=Audience.EVERYONE)

    assert issue(owner=mallory).domain == everyones


@pytest.mark.parametrize("asked", ["unknown.test", "off.test", "garbage", "", "a b.test", "x" * 10_000])
def test_a_domain_that_is_not_there_is_said_so(alice: User, asked: str) -> None:
    Domain.objects.create(name="off.test", audience=Audience.EVERYONE)

    with pytest.raises(refusals.DomainNotFound):
        issue(owner=alice, domain=asked)


def test_a_domain_without_right_is_refused(mallory: User, example_com: Domain) -> None:
    with pytest.raises(refusals.DomainForbidden):
        issue(owner=mallory, domain="example.com")

    assert not Alias.objects.exists()


def test_who_may_create_nowhere_is_told_so(mallory: User, example_com: Domain) -> None:
    with pytest.raises(refusals.NoUsableDomain):
        issue(owner=mallory)


def test_an_inactive_user_creates_nothing(alice: User) -> None:
    alice.deactivate()

    with pytest.raises(refusals.NoUsableDomain):
        issue(owner=alice)
    with pytest.raises(refusals.DomainForbidden):
        issue(owner=alice, domain="example.com")


# --- Which destinations ------------------------------------------------------------------------


def test_without_a_destination_the_primary_address_is_taken(alice: User, home: EmailAddress) -> None:
    alias = issue(owner=alice)

    assert sent_to(alias) == ["alice@example.com"]
    assert [address.email for address in alias.destination_addresses] == ["alice@example.com"]


def test_several_destinations_keep_their_order(alice: User, home: EmailAddress) -> None:
    wanted = ["alice@home.test", "alice@example.com"]

    alias = issue(owner=alice, destinations=wanted)

    assert sent_to(alias) == wanted
    assert [address.email for address in alias.destination_addresses] == wanted


def test_destinations_are_understood_in_any_case_and_once(alice: User, home: EmailAddress) -> None:
    alias = issue(owner=alice, destinations=["ALICE@Home.test", "alice@home.test "])

    assert sent_to(alias) == ["alice@home.test"]


@pytest.mark.parametrize(
    "destinations",
    [
        ["alice@unverified.test"],
        ["mallory@evil.test"],
        ["nobody@example.com"],
        ["alice@example.com", "mallory@evil.test"],
        ["alice+tag@example.com"],
    ],
)
def test_a_destination_that_is_no_verified_own_address_is_refused(
    alice: User, mallory: User, destinations: list[str]
) -> None:
    EmailAddress.objects.create(user=alice, email="alice@unverified.test", verified=False)

    with pytest.raises(refusals.DestinationForbidden):
        issue(owner=alice, destinations=destinations)

    assert not Alias.objects.exists()
    assert not Counter.objects.exists()


@pytest.mark.parametrize(
    "destinations",
    [
        [],
        [""],
        ["alice"],
        ["alice@example.com", "alice@"],
        ["alice@example.com\nbcc: x@evil.test"],
        ["alice@example.com"] * (DESTINATIONS_MAX + 1),
    ],
)
def test_a_destination_that_is_no_address_is_refused(alice: User, destinations: list[str]) -> None:
    with pytest.raises(refusals.NotAnAddress):
        issue(owner=alice, destinations=destinations)

    assert not Alias.objects.exists()


def test_an_owner_without_verified_primary_address_needs_one_first(alice: User) -> None:
    EmailAddress.objects.filter(user=alice).update(verified=False)

    with pytest.raises(refusals.DestinationForbidden):
        issue(owner=alice)

    assert not Alias.objects.exists()


# --- Notes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hostname", "note", "kept"),
    [
        ("www.github.com", None, "Website: www.github.com"),
        ("www.github.com", "", ""),
        ("www.github.com", "mine", "mine"),
        ("", None, ""),
        ("garbage!", None, ""),
        (
            "https://github.com/x?token=secret",
            "Website: https://github.com/x?token=secret. Generated by Bitwarden.",
            "Website: github.com. Generated by Bitwarden.",
        ),
        ("", "Website: https://u:p@github.com:1/x", "Website: github.com"),
        (
            "https://github.com/x?token=secret",
            "Webseite: https://github.com/x?token=secret",
            "Webseite: github.com",
        ),
        ("", "two\nlines\tand a tab, é, 日本", "two\nlines\tand a tab, é, 日本"),
    ],
)
def test_the_note_is_kept_without_urls(alice: User, hostname: str, note: str | None, kept: str) -> None:
    alias = issue(owner=alice, hostname=hostname, note=note)

    alias.refresh_from_db()
    assert alias.note == kept


def test_a_long_note_is_kept_whole_and_a_longer_one_refused(alice: User) -> None:
    longest = "ä" * NOTE_MAX_CHARACTERS

    alias = issue(owner=alice, note=longest)

    alias.refresh_from_db()
    assert alias.note == longest
    with pytest.raises(refusals.InvalidValue):
        issue(owner=alice, note=longest + "ä")
    assert Alias.objects.count() == 1


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b"])
def test_what_is_no_text_is_refused(alice: User, text: str) -> None:
    with pytest.raises(refusals.InvalidValue):
        issue(owner=alice, note=text)

    assert not Alias.objects.exists()


def test_control_characters_never_reach_the_name_in_a_header(alice: User) -> None:
    alias = issue(owner=alice, name="Alice\r\nBcc: x@evil.test\x00\x7f\x85\u2028!")

    assert alias.name == "Alice Bcc: x@evil.test !"


def test_a_name_is_at_most_128_characters(alice: User) -> None:
    with pytest.raises(refusals.InvalidValue):
        issue(owner=alice, name="x" * 129)


def test_preferences_that_were_read_with_the_token_are_not_read_again(
    alice: User, example_com: Domain
) -> None:
    AliasPreferences.objects.create(user=alice, hides_replies=True, style="uuid", idle_days=30)
    _token, secret = Token.objects.issue(owner=alice, name="app")
    token = find_token(Credentials(alice.email, secret), with_domain=True)
    assert token

    with CaptureQueriesContext(connection) as seen:
        alias = issue(owner=token.owner, made_by_app=True)

    assert alias.hides_replies
    assert alias.expiry.idle_days == 30
    assert not [query for query in seen.captured_queries if "aliaspreferences" in query["sql"]]
