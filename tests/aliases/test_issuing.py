"""Making an alias: which domain, which name, which destinations, under which limits."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
import time_machine
from allauth.account.models import EmailAddress
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings
from rest_framework.test import APIClient

from accounts.models import User
from aliases import exceptions as refusals
from aliases import naming
from aliases.issuing import NewAlias, insert_all, issue
from aliases.models import Alias, AliasPreferences
from aliases.validation import DESTINATIONS_MAX, NOTE_MAX_CHARACTERS
from core.exceptions import RateLimited
from core.ratelimit import Counter, hide
from domains.models import AccessGrant, AliasStyle, Audience, Domain

Propose = Callable[..., None]


@pytest.fixture
def propose(monkeypatch: pytest.MonkeyPatch) -> Propose:
    """Makes the naming propose these local parts, one after another."""

    def set_names(*names: str) -> None:
        def candidates(site: str = "", style: str = "") -> Iterator[str]:
            return iter(names)

        monkeypatch.setattr(naming, "candidates", candidates)

    return set_names


@pytest.fixture
def home(alice: User) -> EmailAddress:
    """Alice's second verified address."""
    return EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)


def sent_to(alias: Alias) -> list[str]:
    return [address.email for address in Alias.objects.get(pk=alias.pk).destination_addresses]


# --- Which domain ------------------------------------------------------------------------------


def prefer(user: User, domain: Domain | None = None, style: str = AliasStyle.WORDS) -> None:
    AliasPreferences.objects.create(user=user, default_domain=domain, style=style)


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


# --- Which name --------------------------------------------------------------------------------

WORD = r"github\.[a-z]+"
CHARACTERS = r"github\.[a-z0-9]{8}"
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


@pytest.mark.parametrize(
    ("preferred", "asked", "minimum", "shape"),
    [
        (None, None, "words", WORD),
        ("words", None, "words", WORD),
        ("characters", None, "words", CHARACTERS),
        ("uuid", None, "words", UUID),
        ("uuid", "words", "words", WORD),
        ("words", "uuid", "words", UUID),
        (None, "uuid", "words", UUID),
        ("words", None, "characters", CHARACTERS),
        ("words", "words", "characters", CHARACTERS),
        ("words", None, "uuid", UUID),
        ("uuid", None, "characters", UUID),
        (None, "words", "uuid", UUID),
    ],
)
def test_the_style_is_what_is_asked_for_else_preferred_but_never_weaker_than_the_domains(
    alice: User, example_com: Domain, preferred: str | None, asked: str | None, minimum: str, shape: str
) -> None:
    if preferred:
        prefer(alice, style=preferred)
    Domain.objects.filter(pk=example_com.pk).update(minimum_style=minimum)

    alias = issue(owner=alice, hostname="www.github.com", style=asked)

    assert re.fullmatch(f"{shape}@example\\.com", alias.address)


@pytest.mark.parametrize(
    ("hostname", "host", "begins"),
    [
        ("https://user:pw@www.test-site.co.uk:8443/x?token=1", "www.test-site.co.uk", "testsite."),
        ("bücher.example", "xn--bcher-kva.example", "bucher."),
        ("192.0.2.7", "192.0.2.7", ""),
        ("x" * 10_000, "", ""),
        ("", "", ""),
    ],
)
def test_only_the_bare_host_of_a_site_is_stored(alice: User, hostname: str, host: str, begins: str) -> None:
    alias = issue(owner=alice, hostname=hostname)

    alias.refresh_from_db()
    assert alias.hostname == host
    assert alias.address.startswith(begins)
    assert alias.note == (f"Website: {host}" if host else "")


def test_a_taken_name_is_widened(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naming, "words", lambda: ("red",))

    names = [issue(owner=alice, hostname="github.com").address for _ in range(4)]

    assert names[:2] == ["github.red@example.com", "github.red.red@example.com"]
    assert re.fullmatch(r"github\.red\.red[0-9]{4}@example\.com", names[2])
    assert len(set(names)) == 4


def test_the_same_name_may_be_had_on_another_domain(
    alice: User, other_org: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(naming, "words", lambda: ("red",))
    other_org.grant(alice)

    issue(owner=alice, hostname="github.com")
    alias = issue(owner=alice, hostname="github.com", domain="other.org")

    assert alias.address == "github.red@other.org"


@pytest.mark.parametrize("state", ["present", "disabled", "deleted", "stripped"])
def test_an_address_is_given_out_once_ever(alice: User, propose: Propose, state: str) -> None:
    propose("github.red", "github.red.red")
    first = issue(owner=alice)
    if state == "disabled":
        first.disable()
    if state == "deleted":
        first.soft_delete()
    if state == "stripped":
        first.soft_delete()
        Alias.objects.filter(pk=first.pk).strip()

    second = issue(owner=alice)

    assert first.address == "github.red@example.com"
    assert second.address == "github.red.red@example.com"
    assert Alias.objects.filter(address="github.red@example.com").count() == 1


def test_a_deleted_address_goes_to_nobody_else(alice: User, propose: Propose) -> None:
    propose("github.red", "github.red.red")
    issue(owner=alice).soft_delete()
    with time_machine.travel(timezone.now() + timedelta(days=40)):
        Alias.objects.purgeable().strip()
    bob = User.objects.create_user("bob@example.com")

    alias = issue(owner=bob)

    assert alias.address == "github.red.red@example.com"


@pytest.mark.parametrize("own", ["carol.smith@example.com", "carol.smith+anonmail@example.com"])
@pytest.mark.parametrize("verified", [True, False])
@pytest.mark.parametrize("whose", ["alice", "mallory"])
def test_an_own_address_is_never_given_out(
    alice: User, mallory: User, propose: Propose, own: str, verified: bool, whose: str
) -> None:
    user = alice if whose == "alice" else mallory
    EmailAddress.objects.create(user=user, email=own, verified=verified)
    propose("carol.smith", "carol.smith.red")

    alias = issue(owner=alice)

    assert alias.address == "carol.smith.red@example.com"


def test_an_address_that_only_looks_like_an_own_one_is_given_out(
    alice: User, mallory: User, propose: Propose
) -> None:
    for email in ("carol.smith@evil.test", "carol.smith+x@evil.test", "carolxsmith+x@example.com"):
        EmailAddress.objects.create(user=mallory, email=email, verified=True)
    propose("carol.smith", "carol.smith.red")

    alias = issue(owner=alice)

    assert alias.address == "carol.smith@example.com"


def test_what_somebody_signs_in_with_is_never_given_out(alice: User, propose: Propose) -> None:
    propose("alice", "alice.red")

    assert issue(owner=alice).address == "alice.red@example.com"


def test_when_every_name_is_taken_nothing_is_counted(alice: User, propose: Propose) -> None:
    propose("github.red")
    issue(owner=alice)

    with pytest.raises(refusals.AddressTaken):
        issue(owner=alice)

    assert Alias.objects.count() == 1
    assert set(Counter.objects.values_list("scope", "count")) == {("create-day", 1), ("create-hour", 1)}


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


# --- Limits ------------------------------------------------------------------------------------


def test_a_domains_quota_holds_for_each_user(alice: User, example_com: Domain) -> None:
    Domain.objects.filter(pk=example_com.pk).update(alias_quota=2)
    bob = User.objects.create_user("bob@example.com")
    first = issue(owner=alice)
    issue(owner=alice)

    with pytest.raises(refusals.QuotaReached):
        issue(owner=alice)
    issue(owner=bob)
    first.soft_delete()
    issue(owner=alice)

    assert Alias.objects.owned_by(alice).present().count() == 2


def test_a_quota_of_nought_allows_none(alice: User, example_com: Domain) -> None:
    Domain.objects.filter(pk=example_com.pk).update(alias_quota=0)

    with pytest.raises(refusals.QuotaReached):
        issue(owner=alice)


def test_aliases_on_other_domains_do_not_count_against_a_quota(
    alice: User, example_com: Domain, other_org: Domain
) -> None:
    Domain.objects.filter(pk=example_com.pk).update(alias_quota=1)
    other_org.grant(alice)
    issue(owner=alice, domain="other.org")

    assert issue(owner=alice).domain == example_com


def test_creations_are_limited_by_the_hour(alice: User, settings: Settings) -> None:
    settings.ALIASES_PER_HOUR = 2
    start = timezone.now()
    with time_machine.travel(start, tick=False):
        issue(owner=alice)
        issue(owner=alice)
        with pytest.raises(RateLimited) as refusal:
            issue(owner=alice)
    with time_machine.travel(start + timedelta(minutes=61), tick=False):
        issue(owner=alice)

    assert refusal.value.retry_after == 3600
    assert Alias.objects.owned_by(alice).count() == 3


def test_creations_are_limited_by_the_day(alice: User, settings: Settings) -> None:
    settings.ALIASES_PER_DAY = 2
    start = timezone.now()
    with time_machine.travel(start, tick=False):
        issue(owner=alice)
    with time_machine.travel(start + timedelta(hours=2), tick=False):
        issue(owner=alice)
        with pytest.raises(RateLimited) as refusal:
            issue(owner=alice)

    assert refusal.value.retry_after == 22 * 3600


def test_a_limit_is_each_users_own(alice: User, settings: Settings) -> None:
    settings.ALIASES_PER_HOUR = 1
    bob = User.objects.create_user("bob@example.com")
    issue(owner=alice)

    assert issue(owner=bob).owner == bob


def test_deleting_does_not_give_creations_back(alice: User, settings: Settings) -> None:
    settings.ALIASES_PER_HOUR = 1
    issue(owner=alice).soft_delete()

    with pytest.raises(RateLimited):
        issue(owner=alice)


def test_a_refused_creation_is_not_counted(alice: User, settings: Settings) -> None:
    settings.ALIASES_PER_HOUR = 1
    for _ in range(3):
        with pytest.raises(refusals.DestinationForbidden):
            issue(owner=alice, destinations=["nobody@example.com"])

    assert issue(owner=alice).pk


def test_one_creation_leaves_two_counters_that_name_nobody(alice: User) -> None:
    issue(owner=alice)

    rows = list(Counter.objects.order_by("scope"))
    assert [(row.scope, row.count) for row in rows] == [("create-day", 1), ("create-hour", 1)]
    assert all(re.fullmatch("[0-9a-f]{64}", row.key) for row in rows)


# --- The budget --------------------------------------------------------------------------------

TRANSACTION_CONTROL = re.compile(r"SAVEPOINT|RELEASE|BEGIN|COMMIT|ROLLBACK")
LAST_USED = re.compile(r'UPDATE "tokens_token" SET "last_used" = ')


def statements(queries: CaptureQueriesContext) -> list[str]:
    """What the budget counts: all but transaction control and the token's `last used`."""
    asked = [query["sql"] for query in queries.captured_queries]
    return [sql for sql in asked if not (TRANSACTION_CONTROL.match(sql) or LAST_USED.match(sql))]


@pytest.fixture(params=["1 domain", "500 domains", "1,000 grants", "quota"])
def crowd(request: pytest.FixtureRequest, alice: User, example_com: Domain) -> None:
    """How much there is beside alice and example.com."""
    amount = {"500 domains": 500, "1,000 grants": 1_000}.get(request.param, 0)
    Domain.objects.bulk_create(
        Domain(name=f"d{number}.test", anonmail_enabled=True, audience=Audience.EVERYONE)
        for number in range(amount)
    )
    if request.param == "1,000 grants":
        Domain.objects.exclude(pk=example_com.pk).update(audience=Audience.OWN)
        AccessGrant.objects.bulk_create(
            AccessGrant(domain=domain, user=alice) for domain in Domain.objects.exclude(pk=example_com.pk)
        )
    if request.param == "quota":
        Domain.objects.filter(pk=example_com.pk).update(alias_quota=10)
    assert Domain.objects.usable_by(alice).count() == 1 + amount


def test_issuing_takes_five_statements_whatever_there_is(
    request: pytest.FixtureRequest, alice: User, crowd: None
) -> None:
    with CaptureQueriesContext(connection) as queries:
        issue(owner=alice, hostname="www.github.com")

    # the preferences; the domain; both counters; [the quota's count]; the alias; its link to the
    # primary address, unless somebody has this address as an own one
    expected = 6 if "quota" in request.node.name else 5
    assert len(statements(queries)) == expected, statements(queries)


def test_the_whole_call_takes_four_statements_whatever_there_is(
    request: pytest.FixtureRequest, alice: User, api: Callable[[User], APIClient], crowd: None
) -> None:
    client = api(alice)

    with CaptureQueriesContext(connection) as queries:
        answer = client.post("/api/alias/random/new?hostname=www.github.com", {"note": "x"}, format="json")

    assert answer.status_code == 201
    # the token with its owner, the preferences and the domain; then as above
    expected = 5 if "quota" in request.node.name else 4
    assert len(statements(queries)) == expected, statements(queries)


def test_two_destinations_take_one_statement_more(alice: User, home: EmailAddress) -> None:
    with CaptureQueriesContext(connection) as queries:
        issue(owner=alice, destinations=["alice@home.test", "alice@example.com"])

    # The destinations are looked up, then linked.
    assert len(statements(queries)) == 6, statements(queries)


# --- Several in one transaction ----------------------------------------------------------------


def new_alias(address: str, domain: Domain, owner: User) -> NewAlias:
    alias = Alias(address=address, domain=domain, owner=owner)
    return NewAlias(owner, alias, wanted=None, is_chosen=False, idle_days=None, unused_days=None)


def test_aliases_that_are_inserted_together_take_as_many_statements_for_two_as_for_five(
    example_com: Domain,
) -> None:
    def statements_for(number: int) -> int:
        people = [User.objects.create_user(f"{number}-{place}@example.com") for place in range(number)]
        every = [new_alias(f"x{user.pk}@example.com", example_com, user) for user in people]
        with CaptureQueriesContext(connection) as statements:
            insert_all(every)
        for new in every:
            kept = Alias.objects.get(pk=new.alias.pk)
            assert (kept.address, kept.owner) == (new.alias.address, new.owner)
            assert sent_to(kept) == [new.owner.email]
        return len(statements)

    assert statements_for(2) == statements_for(5)


def test_an_address_that_was_given_out_is_skipped_and_counts_for_nothing(
    alice: User, example_com: Domain
) -> None:
    bob = User.objects.create_user("bob@example.com")
    Alias.objects.create(address="taken@example.com", domain=example_com, owner=bob)
    every = [
        new_alias("taken@example.com", example_com, alice),
        new_alias("free@example.com", example_com, bob),
    ]

    insert_all(every)

    assert [new.is_taken for new in every] == [True, False]
    assert sorted(bob.aliases.values_list("address", flat=True)) == ["free@example.com", "taken@example.com"]
    assert not Alias.objects.owned_by(alice).exists()
    for user, count in ((alice, 0), (bob, 1)):
        assert set(Counter.objects.filter(key=hide(user.pk)).values_list("count", flat=True)) == {count}
