"""What mail to an address that is no alias makes of it."""

from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.db import OperationalError
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from accounts.models import AddressChange, User
from aliases.by_mail import Chance, chances, make
from aliases.exceptions import AddressTaken
from aliases.issuing import issue, issue_chosen
from aliases.models import Alias, AliasPreferences, NameSpace
from aliases.spaces import SpaceForbidden, change, give, switch
from core.addresses import Address
from core.db.locks import has_waited_in_vain
from core.ratelimit import Counter
from domains.models import AliasStyle, Domain
from hooks.models import HookMessage
from mailboxes.adding import confirm_address
from mailboxes.exceptions import NotAddable
from tests.rig.at_once import all_at_once
from tests.rig.hooking import make as make_hook

pytestmark = pytest.mark.django_db

HOME = "alice@home.test"


def set_up(space: NameSpace, **wishes: Any) -> NameSpace:
    """The name space as its owner wants it, read anew."""
    plain: dict[str, Any] = {"names": "", "is_expression": False, "key_word": "", "per_day": 10, "rules": []}
    change(space, **(plain | wishes))
    return NameSpace.objects.get(pk=space.pk)


@pytest.fixture
def space(alice: User, other_org: Domain) -> NameSpace:
    """All names of other.org, alice's, switched on."""
    EmailAddress.objects.create(user=alice, email=HOME, verified=True)
    other_org.grant(alice)
    space = give(domain=other_org, owner=alice)
    switch(space, True)
    return space


@pytest.fixture
def suffixed(alice: User, other_org: Domain) -> NameSpace:
    """The names *.alice of other.org."""
    other_org.grant(alice)
    space = give(domain=other_org, owner=alice, suffix="alice")
    switch(space, True)
    return space


@pytest.fixture
def suffixed_elsewhere(alice: User) -> str:
    """A domain at which the names *.alice are alice's, switched on."""
    domain = Domain.objects.create(name="elsewhere.org", anonmail_enabled=True)
    domain.grant(alice)
    switch(give(domain=domain, owner=alice, suffix="alice"), True)
    return domain.name


def chance(local_part: str, domain: str = "other.org") -> Chance:
    address = Address(local_part, domain)
    return chances([address])[address]


def made(local_part: str) -> Alias:
    assert make(Address(local_part, "other.org")) is Chance.YES
    return Alias.objects.get(address=f"{local_part}@other.org")


def test_the_first_mail_makes_an_alias_that_is_marked(alice: User, space: NameSpace) -> None:
    AliasPreferences.objects.create(user=alice, hides_replies=False, idle_days=90, unused_days=5)

    alias = made("shop")

    assert (alias.owner, alias.enabled, alias.made_by_mail, alias.hides_replies) == (alice, True, True, False)
    assert [address.email for address in alias.destination_addresses] == [alice.email]
    assert (alias.expiry.idle_days, alias.expiry.unused_days) == (90, None)
    assert not issue(owner=alice).made_by_mail


def test_telling_what_would_be_made_writes_nothing(
    space: NameSpace, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    # The name spaces; own addresses; removed ones; the counter.
    with django_assert_num_queries(4):
        assert chance("shop") is Chance.YES
    # A name that cannot be one costs the first of them.
    with django_assert_num_queries(1):
        assert chance("admin") is Chance.NO
    assert not Alias.objects.exists()
    assert not Counter.objects.exists()


@pytest.mark.parametrize(
    "local_part",
    [
        "admin",
        "info",
        "b.x",
        "r.abc",
        "bounce-1",
        "srs0=x",
        "a..b",
        "-a",
        "a_",
        "a!b",
        "x" * 65,
        "ü",
        "",
        "a b",
    ],
)
def test_reserved_names_and_those_that_break_the_rules_are_never_made(
    space: NameSpace, local_part: str
) -> None:
    assert chance(local_part) is Chance.NO
    assert make(Address(local_part, "other.org")) is Chance.NO
    assert not Alias.objects.exists()


@pytest.mark.parametrize("own", ["shop@other.org", "shop+tag@other.org"])
def test_an_own_address_is_never_made(space: NameSpace, mallory: User, own: str) -> None:
    address = EmailAddress.objects.create(user=mallory, email=own, verified=True)
    assert make(Address("shop", "other.org")) is chance("shop") is Chance.NO

    AddressChange.objects.record(mallory, AddressChange.Kind.REMOVED, address)
    address.delete()

    # It may come back, for some time.
    assert make(Address("shop", "other.org")) is chance("shop") is Chance.NO
    AddressChange.objects.all().delete()
    assert chance("shop") is Chance.YES


@pytest.mark.parametrize("own", ["shop@other.org", "shop+tag@other.org"])
def test_an_address_that_nobody_has_verified_blocks_no_name(
    space: NameSpace, alice: User, mallory: User, own: str
) -> None:
    """Anybody can add one, and remove it, again and again."""
    for name in ("shop", "bank"):
        address = EmailAddress.objects.create(user=mallory, email=own.replace("shop", name))
    AddressChange.objects.record(mallory, AddressChange.Kind.REMOVED, address)
    address.delete()

    assert chance("shop") is chance("bank") is Chance.YES
    assert made("shop").owner == made("bank").owner == alice
    # It is an alias now, and can become no own address.
    with pytest.raises(NotAddable):
        confirm_address(mallory, EmailAddress.objects.get(email=own))
    assert not EmailAddress.objects.filter(email=own, verified=True).exists()


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_an_address_is_made_an_alias_or_verified_never_both(space: NameSpace, mallory: User) -> None:
    for number in range(8):
        email = f"shop{number}@other.org"
        address = EmailAddress.objects.create(user=mallory, email=email)

        def verify(address: EmailAddress = address) -> str:
            try:
                confirm_address(User.objects.get(pk=mallory.pk), address)
            except NotAddable:
                return "refused"
            return "verified"

        found = all_at_once(
            [verify, lambda number=number: make(Address(f"shop{number}", "other.org")).name]  # type: ignore[misc]
        )
        assert sorted(found) in (["NO", "verified"], ["YES", "refused"]), found


@pytest.mark.parametrize("way", ["grant", "manager", "audience", "own address"])
def test_names_rest_while_their_owner_may_not_create_at_the_domain(
    alice: User, other_org: Domain, way: str
) -> None:
    def change_access(*, has_it: bool) -> None:
        match way:
            case "grant":
                (other_org.grant if has_it else other_org.revoke)(alice)
            case "manager":
                (other_org.managers.add if has_it else other_org.managers.remove)(alice)
            case "audience":
                Domain.objects.filter(pk=other_org.pk).update(audience="everyone" if has_it else "own")
            case "own address":
                alice.email = "alice@other.org" if has_it else "alice@home.test"
                alice.save()

    change_access(has_it=True)
    switch(give(domain=other_org, owner=alice), True)
    assert made("before").owner == alice
    change_access(has_it=False)

    assert chance("shop") is make(Address("shop", "other.org")) is Chance.NO
    with pytest.raises(SpaceForbidden):
        give(domain=other_org, owner=alice, suffix="alice")

    change_access(has_it=True)
    assert made("shop").owner == alice


def test_globs_and_an_expression_choose_the_names(space: NameSpace) -> None:
    set_up(space, names="shop-*\n??.news  bank")
    assert {
        name
        for name in ("shop-a", "shop-", "de.news", "deu.news", "bank", "banks")
        if chance(name) is Chance.YES
    } == {
        "shop-a",
        "de.news",
        "bank",
    }

    set_up(space, names="(shop|news)[0-9]{2}", is_expression=True)
    # Of the whole name, not a part of it.
    assert [chance(name) for name in ("shop12", "shop123", "xnews99")] == [Chance.YES, Chance.NO, Chance.NO]


def test_a_pattern_that_is_not_accepted_any_more_holds_up_nobody_else(
    space: NameSpace, suffixed_elsewhere: str
) -> None:
    NameSpace.objects.filter(pk=space.pk).update(names="(?=a)", is_expression=True)
    asked = [Address("shop", "other.org"), Address("shop.alice", suffixed_elsewhere)]

    assert list(chances(asked).values()) == [Chance.LATER, Chance.YES]
    assert make(asked[0]) is Chance.LATER
    assert not Alias.objects.exists()


def test_a_name_that_would_keep_other_engines_busy_for_ever_is_looked_at_quickly(space: NameSpace) -> None:
    set_up(space, names="(a+)+(b|a+)*c", is_expression=True)

    assert chance("a" * 64) is Chance.NO


def test_the_key_word_is_the_last_part(space: NameSpace) -> None:
    set_up(space, key_word="k7", names="shop")

    assert chance("shop.k7") is Chance.YES
    for name in ("shop", "shop.k8", "k7", "shop.k7.x", "shopk7", ".k7", "other.k7"):
        assert chance(name) is Chance.NO


def test_a_suffix_makes_the_names_that_end_with_it(suffixed: NameSpace) -> None:
    assert chance("shop.alice") is Chance.YES
    assert chance("my.shop.alice") is Chance.YES
    for name in ("alice", "shop", "shop.bob", "shopalice", "shop-alice", "admin"):
        assert chance(name) is Chance.NO
    set_up(suffixed, key_word="k7")
    assert [chance(name) for name in ("shop.k7.alice", "shop.alice.k7")] == [Chance.YES, Chance.NO]


def test_prefix_rules_choose_the_destination(alice: User, space: NameSpace) -> None:
    set_up(space, rules=[("shop.*", HOME), ("*.news", alice.email), ("shop*", HOME)])

    where = {
        name: made(name).destination_addresses[0].email for name in ("shop.a", "a.news", "shops", "other")
    }

    assert where == {"shop.a": HOME, "a.news": alice.email, "shops": HOME, "other": alice.email}
    # A rule goes with its address.
    Alias.objects.all().delete()
    EmailAddress.objects.get(email=HOME).delete()
    assert made("shop.b").destination_addresses[0].email == alice.email


def test_a_rule_whose_address_is_not_verified_is_skipped(alice: User, space: NameSpace) -> None:
    """Or mail to such names would be told to come back for ever."""
    set_up(space, rules=[("shop.*", HOME), ("shop.a*", alice.email)])
    EmailAddress.objects.filter(email=HOME).update(verified=False)

    assert made("shop.a").destination_addresses[0].email == alice.email
    assert made("shop.b").destination_addresses[0].email == alice.email
    EmailAddress.objects.filter(email=HOME).update(verified=True)
    assert made("shop.c").destination_addresses[0].email == HOME


def test_without_a_verified_address_it_waits(alice: User, space: NameSpace) -> None:
    EmailAddress.objects.filter(user=alice).update(verified=False)

    assert make(Address("shop", "other.org")) is Chance.LATER
    assert not Alias.objects.exists()
    assert not Counter.objects.exists()


@pytest.mark.parametrize("how", ["off", "owner", "toggle", "shared", "style", "taken back"])
def test_nothing_is_made_where_it_is_not_allowed(space: NameSpace, how: str) -> None:
    domain = space.domain
    match how:
        case "off":
            switch(space, False)
        case "owner":
            space.owner.deactivate()
        case "toggle":
            domain.set_anonmail(False)
        case "shared":
            Domain.objects.filter(pk=domain.pk).update(is_shared=True)
        case "style":
            Domain.objects.filter(pk=domain.pk).update(minimum_style=AliasStyle.UUID)
        case "taken back":
            space.delete()

    assert make(Address("shop", "other.org")) is chance("shop") is Chance.NO
    assert not Alias.objects.exists()


def test_the_days_limit_is_exact_and_ends_with_the_day(space: NameSpace, settings: Settings) -> None:
    set_up(space, per_day=2)
    made("one"), made("two")

    assert chance("three") is make(Address("three", "other.org")) is Chance.LATER
    # What is there is there, and costs nothing.
    assert make(Address("one", "other.org")) is Chance.YES
    assert Counter.objects.get().count == 2
    Counter.objects.update(expires=timezone.now() - timedelta(seconds=1))
    assert chance("three") is Chance.YES
    # The installation's limit binds too.
    settings.ALIASES_BY_MAIL_PER_DAY = 1
    made("three")
    assert chance("four") is Chance.LATER


def test_the_owners_own_limits_are_not_used_up_by_strangers(
    alice: User, space: NameSpace, settings: Settings
) -> None:
    settings.ALIASES_PER_HOUR = settings.ALIASES_PER_DAY = 1
    made("one"), made("two")

    assert issue(owner=alice)


def test_the_domains_quota_binds(alice: User, space: NameSpace) -> None:
    Domain.objects.filter(pk=space.domain_id).update(alias_quota=1)
    made("one").disable()

    # It does not pass by itself.
    assert chance("two") is make(Address("two", "other.org")) is Chance.NO
    assert [alias.address for alias in Alias.objects.all()] == ["one@other.org"]


@pytest.mark.parametrize("state", ["disabled", "deleted", "stripped", "another's"])
def test_what_was_given_out_before_is_never_made_again(space: NameSpace, root: User, state: str) -> None:
    if state == "another's":
        alias = issue_chosen(owner=root, prefix="shop", suffix="", domain="other.org")
    else:
        alias = made("shop")
    match state:
        case "disabled":
            alias.disable()
        case "deleted":
            alias.soft_delete()
        case "stripped":
            alias.soft_delete()
            Alias.objects.filter(pk=alias.pk).strip()
    before = Alias.objects.values().get()

    make(Address("shop", "other.org"))

    assert Alias.objects.values().get() == before
    assert before["made_by_mail"] is (state in {"disabled", "deleted"})


def test_hooks_are_told_of_an_alias_that_mail_has_made(alice: User, space: NameSpace) -> None:
    make_hook(alice)

    made("shop")

    assert HookMessage.objects.get().event == "alias.created"


def test_nobody_else_makes_an_alias_in_a_name_space_by_suffix(
    alice: User, root: User, suffixed: NameSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AddressTaken):
        issue_chosen(owner=root, prefix="shop.alice", suffix="", domain="other.org")
    # Not by chance either.
    monkeypatch.setattr("aliases.naming.words", lambda: ("alice",))
    assert not issue(owner=root, domain="other.org", hostname="github.com").address.endswith(
        ".alice@other.org"
    )
    assert issue_chosen(owner=root, prefix="shop.alices", suffix="", domain="other.org")
    suffixed.domain.grant(alice)
    assert issue_chosen(owner=alice, prefix="shop.alice", suffix="", domain="other.org")


def test_where_nobody_has_a_suffix_creating_costs_no_statement_more(
    alice: User, root: User, space: NameSpace, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    issue(owner=root, domain="other.org")
    with django_assert_num_queries(6) as without:
        issue(owner=root, domain="other.org")

    assert not any("namespace" in query["sql"] for query in without.captured_queries)


def insist(local_part: str) -> Chance:
    """As the mail server does, where somebody holds the lock for longer than a moment."""
    while True:
        try:
            return make(Address(local_part, "other.org"))
        except OperationalError as error:
            if not has_waited_in_vain(error):
                raise


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_eight_at_once_make_as_many_as_the_limit_says_and_none_twice(space: NameSpace) -> None:
    set_up(space, per_day=5)

    def many(number: int) -> Any:
        # Each name is asked for by two threads.
        return lambda: [insist(f"n{number // 2}x{each}") for each in range(4)]

    results = all_at_once([many(number) for number in range(8)])

    assert {type(result) for result in results} == {list}, results
    assert Alias.objects.filter(made_by_mail=True).count() == Counter.objects.get().count == 5
    assert {chance for result in results for chance in result} == {Chance.YES, Chance.LATER}


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_a_quota_is_exact_while_the_owner_makes_others(alice: User, space: NameSpace) -> None:
    space.domain.grant(alice)
    Domain.objects.filter(pk=space.domain_id).update(alias_quota=6)

    all_at_once(
        [lambda number=number: insist(f"n{number}") for number in range(6)]
        + [lambda: issue(owner=alice, domain="other.org") for _ in range(6)]
    )

    assert Alias.objects.count() == 6
