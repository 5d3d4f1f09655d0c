"""Name spaces, and the pages of their owners."""

from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from accounts.deletion import close_account
from accounts.models import User
from aliases import spaces
from aliases.exceptions import InvalidValue
from aliases.models import Alias, NameRule, NameSpace
from aliases.spaces import SpaceForbidden, SpaceTaken, change, give, give_subdomain, is_used
from core.exceptions import RuleError
from domains.models import AliasStyle, Domain
from transfer.importing import check_rows, upload
from transfer.personal_download import everything

pytestmark = pytest.mark.django_db


@pytest.fixture
def space(alice: User, other_org: Domain) -> NameSpace:
    other_org.grant(alice)
    return give(domain=other_org, owner=alice)


def test_a_name_space_is_off_until_its_owner_wants_it(space: NameSpace) -> None:
    assert not space.enabled
    assert (str(space), space.example) == ("*@other.org", "shop@other.org")
    assert not NameSpace.objects.making().exists()


@pytest.mark.parametrize("suffix", ["a", "x" * 31, "a.b", "a-b", "ü", "admin", "postmaster", "a b", "*"])
def test_a_suffix_is_a_plain_word(alice: User, other_org: Domain, suffix: str) -> None:
    other_org.grant(alice)

    with pytest.raises(InvalidValue):
        give(domain=other_org, owner=alice, suffix=suffix)


def test_a_domain_is_given_once_as_a_whole_or_by_suffixes(
    alice: User, mallory: User, other_org: Domain, example_com: Domain
) -> None:
    for person in (alice, mallory):
        other_org.grant(person)
        example_com.grant(person)
    give(domain=other_org, owner=alice, suffix=" Alice ")
    give(domain=other_org, owner=mallory, suffix="mallory")
    for suffix in ("alice", ""):
        with pytest.raises(SpaceTaken):
            give(domain=other_org, owner=mallory, suffix=suffix)
    give(domain=example_com, owner=alice)
    for suffix in ("alice", ""):
        with pytest.raises(SpaceTaken):
            give(domain=example_com, owner=mallory, suffix=suffix)

    assert NameSpace.objects.count() == 3


@pytest.mark.parametrize("why", [{"is_shared": True}, {"minimum_style": AliasStyle.CHARACTERS}])
def test_some_domains_are_never_given(alice: User, other_org: Domain, why: dict[str, Any]) -> None:
    Domain.objects.filter(pk=other_org.pk).update(**why)
    other_org.grant(alice)

    with pytest.raises(SpaceForbidden):
        give(domain=other_org, owner=alice)


def test_a_subdomain_is_a_domain_of_its_own(alice: User, mallory: User, other_org: Domain) -> None:
    other_org.managers.add(mallory)

    space = give_subdomain(domain=other_org, owner=alice, label="alice")

    assert str(space) == "*@alice.other.org"
    assert list(space.domain.managers.all()) == [mallory]
    assert set(Domain.objects.usable_by(alice).values_list("name", flat=True)) == {
        "example.com",
        "alice.other.org",
    }
    for label in ("alice", "www", "a.b", ""):
        with pytest.raises(RuleError):
            give_subdomain(domain=other_org, owner=mallory, label=label)
    long = Domain.objects.create(name="x" * 60 + "." + "y" * 60 + "." + "z" * 60 + "." + "w" * 60 + ".test")
    with pytest.raises(InvalidValue):
        give_subdomain(domain=long, owner=mallory, label="alice")


def test_nobody_takes_a_name_of_somebody_elses_suffix_as_own_address(
    alice: User, other_org: Domain, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """It would be refused to become an alias as long as it is an own address."""
    other_org.grant(alice)
    give(domain=other_org, owner=alice, suffix="alice")

    with django_assert_num_queries(1):
        assert is_used("shop.alice+tag@OTHER.org")
    for email in (
        "shop.bob@other.org",
        "alice@other.org",
        "shop.alice@example.com",
        "alice",
        "a b@other.org",
    ):
        assert not is_used(email)


def test_an_account_goes_with_its_name_spaces(alice: User, root: User, space: NameSpace) -> None:
    NameRule.objects.create(space=space, glob="x", address=EmailAddress.objects.get(user=alice))

    close_account(alice)

    assert not NameSpace.objects.exists()


def page(space: NameSpace) -> str:
    return reverse("name-space", args=[space.pk])


FORM = {"names": "shop-*\r\nbank", "kind": "", "key_word": " K7 ", "per_day": "3", "rules": ""}


def test_the_owner_says_which_names_and_where(browser: Client, alice: User, space: NameSpace) -> None:
    EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    browser.post(page(space), FORM | {"rules": "Shop-* Alice@home.test\r\n\r\n* alice@example.com\r\n"})

    space.refresh_from_db()
    assert (space.names, space.key_word, space.per_day) == ("shop-*\nbank", "k7", 3)
    assert [(rule.glob, rule.address.email) for rule in space.rules.all()] == [
        ("shop-*", "alice@home.test"),
        ("*", "alice@example.com"),
    ]
    shown = browser.get(page(space)).content.decode()
    assert "shop-* alice@home.test\n* alice@example.com" in shown
    assert "shop.k7@other.org" in shown


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"names": "a b/c"}, "is no pattern for names"),
        ({"names": "x" * 65}, "is no pattern for names"),
        ({"names": "\n".join(f"a{number}" for number in range(51))}, "At most 50 patterns."),
        ({"names": "x" * 4001}, "at most 4000 characters"),
        ({"names": "(", "kind": "expression"}, "not a regular expression"),
        ({"names": "a" * 201, "kind": "expression"}, "at most 200 characters"),
        ({"names": "(((a{1,100}){1,100}){1,100})", "kind": "expression"}, "too large|not a regular"),
        ({"names": r"(a)\1", "kind": "expression"}, "not a regular expression"),
        ({"kind": "other"}, "not one of the available choices"),
        ({"key_word": "k 7"}, "A key word consists"),
        ({"key_word": "k"}, "A key word consists"),
        ({"per_day": "0"}, "greater than or equal to 1"),
        ({"per_day": "101"}, "Between 1 and 100 a day."),
        ({"per_day": "9" * 400}, "Between 1 and 100|whole number|valid"),
        ({"rules": "shop"}, "is not a pattern, a space and an address"),
        ({"rules": "a b c"}, "is not a pattern, a space and an address"),
        ({"rules": "a mallory@evil.test"}, "is not one of your verified addresses"),
        ({"rules": "a alice@new.test"}, "is not one of your verified addresses"),
        ({"rules": "a/ alice@example.com"}, "is no pattern for names"),
        ({"rules": "a alice@example.com\nA alice@example.com"}, "Two rules are for the same names."),
        ({"rules": "\n".join(f"a{number} alice@example.com" for number in range(51))}, "At most 50 rules."),
    ],
)
def test_what_the_owner_may_not_say_changes_nothing(
    browser: Client, alice: User, mallory: User, space: NameSpace, change: dict[str, str], said: str
) -> None:
    EmailAddress.objects.create(user=alice, email="alice@new.test", verified=False)
    before = NameSpace.objects.values().get()

    answer = browser.post(page(space), FORM | change)

    assert answer.status_code == 422
    text = answer.content.decode()
    assert any(each in text for each in said.split("|")), text
    assert NameSpace.objects.values().get() == before
    assert not NameRule.objects.exists()


def test_the_switch(browser: Client, space: NameSpace) -> None:
    switch = reverse("name-space-switch", args=[space.pk])

    said = browser.post(switch, {"enabled": "on"}, follow=True).content.decode()
    assert "the first mail to a new name makes an alias" in said
    assert NameSpace.objects.get().enabled
    browser.post(switch, {"enabled": "off"})
    assert not NameSpace.objects.get().enabled


def test_somebody_elses_name_space_does_not_exist(client: Client, mallory: User, space: NameSpace) -> None:
    client.force_login(mallory)

    assert client.get(page(space)).status_code == 404
    assert client.post(page(space), FORM).status_code == 404
    assert client.post(reverse("name-space-switch", args=[space.pk]), {"enabled": "on"}).status_code == 404
    assert "other.org" not in client.get(reverse("name-space-list")).content.decode()
    assert not NameSpace.objects.get().enabled


def test_the_owners_list_costs_the_same_for_one_and_five(
    browser: Client, alice: User, space: NameSpace, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    browser.get(reverse("name-space-list"))
    with django_assert_num_queries(5) as one:
        browser.get(reverse("name-space-list"))
    for number in range(4):
        give(domain=Domain.objects.create(name=f"d{number}.test", audience="everyone"), owner=alice)
    with django_assert_num_queries(len(one)):
        assert "*@d3.test" in browser.get(reverse("name-space-list")).content.decode()


PAUSED = "Mail makes no aliases here at the moment"


@pytest.mark.parametrize("why", ["off", "shared", "hard to guess", "no access", "inactive"])
def test_what_pauses_a_name_space_is_shown_wherever_it_is(
    boss: Client, alice: User, space: NameSpace, why: str
) -> None:
    NameSpace.objects.update(enabled=True)
    browser = Client()
    browser.force_login(alice)
    domain = Domain.objects.filter(pk=space.domain_id)
    listed, given = reverse("name-space-list"), reverse("domain-spaces", args=["other.org"])
    admin = reverse("admin:aliases_namespace_changelist")

    def shown() -> list[bool]:
        pages = [(browser, page(space), PAUSED), (browser, listed, "Paused"), (boss, given, "Paused")]
        if why == "inactive":
            pages = pages[2:]
        return [
            *(words in who.get(url).content.decode() for who, url, words in pages),
            'alt="True"' in boss.get(admin).content.decode().split("field-is_paused")[1].split("</td>")[0],
        ]

    def change(*, pauses: bool) -> None:
        match why:
            case "off":
                domain.update(anonmail_enabled=not pauses)
            case "shared":
                domain.update(is_shared=pauses)
            case "hard to guess":
                domain.update(minimum_style=AliasStyle.UUID if pauses else AliasStyle.WORDS)
            case "no access":
                (space.domain.revoke if pauses else space.domain.grant)(alice)
            case "inactive":
                User.objects.filter(pk=alice.pk).update(is_active=not pauses)

    assert not any(shown())
    change(pauses=True)
    assert all(shown())
    assert not NameSpace.objects.making().exists()
    change(pauses=False)
    assert not any(shown())
    assert NameSpace.objects.making().get() == space


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", ["page", "app"])
def test_a_rule_for_an_address_that_is_removed_in_this_moment_is_refused(
    alice: User, space: NameSpace, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    clean_glob = spaces.clean_glob

    def remove_first(glob: str) -> str:
        EmailAddress.objects.filter(pk=home.pk).delete()
        return clean_glob(glob)

    def save() -> None:
        if way == "page":
            rules = [("*", home.email)]
            change(space, names="", is_expression=False, key_word="", per_day=3, rules=rules)
        else:
            remove_first("*")
            spaces.set_default_destination(space, home)

    monkeypatch.setattr(spaces, "clean_glob", remove_first)
    with pytest.raises(InvalidValue, match="has just been removed"):
        save()

    assert not NameRule.objects.exists()
    assert NameSpace.objects.get().per_day != 3


def test_names_that_are_taken_back_while_their_owner_changes_them_are_not_changed(
    alice: User, space: NameSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean_key_word = spaces.clean_key_word

    def take_back_first(text: str) -> str:
        NameSpace.objects.all().delete()
        return clean_key_word(text)

    monkeypatch.setattr(spaces, "clean_key_word", take_back_first)
    with pytest.raises(InvalidValue, match="taken back"):
        change(space, names="", is_expression=False, key_word="", per_day=3, rules=[("*", alice.email)])


def test_a_rule_that_leads_to_an_unverified_address_is_shown_as_skipped(
    browser: Client, alice: User, space: NameSpace
) -> None:
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    NameRule.objects.create(space=space, glob="shop.*", address=home)
    said = "The address alice@home.test is not verified, so the rule for shop.* is skipped."
    assert said not in browser.get(page(space)).content.decode()

    EmailAddress.objects.filter(pk=home.pk).update(verified=False)

    assert said in browser.get(page(space)).content.decode()


def test_the_list_shows_what_mail_has_made(browser: Client, alice: User, example_com: Domain) -> None:
    for name, by_mail in (("shop", True), ("bank", False)):
        Alias.objects.create(
            address=f"{name}@example.com", domain=example_com, owner=alice, made_by_mail=by_mail
        )

    whole = browser.get("/aliases/").content.decode()
    some = browser.get("/aliases/?status=mail").content.decode()

    assert whole.count("Made by mail</span>") == some.count("Made by mail</span>") == 1
    assert ("bank</b>" in whole, "bank</b>" in some) == (True, False)
    shown = browser.get(reverse("alias", args=[Alias.objects.get(made_by_mail=True).pk])).content.decode()
    assert "made by mail" in shown


def test_nobody_imports_into_somebody_elses_suffix(alice: User, root: User, other_org: Domain) -> None:
    other_org.grant(alice)
    give(domain=other_org, owner=alice, suffix="alice")
    rows = b"alias,note\nshop.alice@other.org,\nshop.alices@other.org,\nalice@other.org,\n"

    found = {}
    for person in (root, alice):
        pending = upload(person, rows, "aliases.csv")
        check_rows(pending, None)
        found[person] = [address for _line, address, *_reason in pending.problems]

    assert found == {root: ["shop.alice@other.org"], alice: []}


def test_a_person_downloads_their_name_spaces(alice: User, space: NameSpace) -> None:
    NameSpace.objects.update(key_word="k7", names="shop-*")

    (row,) = everything(alice)["name_spaces"]

    assert (row["names"], row["patterns"], row["key_word"], row["rules"]) == (
        "*@other.org",
        "shop-*",
        "k7",
        [],
    )
