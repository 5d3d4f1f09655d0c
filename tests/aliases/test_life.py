"""An alias after it was made: switched, edited, found."""

from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.deletion import close_account
from accounts.models import User
from aliases import exceptions as refusals
from aliases.issuing import issue
from aliases.models import Alias
from domains.models import Domain
from tests.rig.alias_life import fresh, sent_to

# --- Switching ---------------------------------------------------------------------------------


def test_a_disabled_alias_receives_nothing_until_it_is_enabled(alias: Alias) -> None:
    alias.disable()
    while_disabled = list(Alias.objects.receiving())

    alias.enable()

    assert while_disabled == []
    assert list(Alias.objects.receiving()) == [alias]


def test_toggling_twice_changes_nothing(alias: Alias) -> None:
    assert alias.toggle() is False
    assert fresh(alias).enabled is False
    assert alias.toggle() is True
    assert fresh(alias).enabled is True


def test_toggling_goes_by_what_is_stored_not_by_what_was_read(alias: Alias) -> None:
    stale = fresh(alias)
    alias.disable()

    assert stale.toggle() is True
    assert fresh(alias).enabled is True


@pytest.mark.parametrize("deed", ["enable", "disable", "toggle", "soft_delete", "restore"])
def test_switching_writes_nothing_but_the_switch(alias: Alias, deed: str) -> None:
    if deed == "restore":
        alias.soft_delete()
    stale = fresh(alias)
    Alias.objects.filter(pk=alias.pk).update(note="newer", forwards=7, blocks=3, replies=1)

    getattr(stale, deed)()

    kept = fresh(alias)
    assert (kept.note, kept.forwards, kept.blocks, kept.replies) == ("newer", 7, 3, 1)


def test_the_owners_switch_and_the_aliases_are_independent(alice: User, alias: Alias) -> None:
    alice.deactivate()
    while_inactive = list(Alias.objects.receiving())
    alice.activate()

    assert while_inactive == []
    assert list(Alias.objects.receiving()) == [alias]

    alias.disable()
    alice.deactivate()
    alice.activate()

    assert list(Alias.objects.receiving()) == []


# --- Editing -----------------------------------------------------------------------------------


def test_editing_changes_what_is_given_and_leaves_the_rest(alias: Alias) -> None:
    alias.edit(note="new")
    alias.edit(pinned=True)

    kept = fresh(alias)
    assert (kept.note, kept.name, kept.hostname, kept.pinned) == ("new", "Alice", "www.github.com", True)


def test_editing_cleans_as_making_does(alias: Alias) -> None:
    alias.edit(
        note="Website: https://u:p@github.com/x?token=1",
        name=" Alice\r\nBcc: x\x00 ",
        hostname="https://u:p@GitLab.com:8443/x",
    )

    kept = fresh(alias)
    assert (kept.note, kept.name, kept.hostname) == ("Website: github.com", "Alice Bcc: x", "gitlab.com")


def test_editing_empties(alias: Alias) -> None:
    alias.edit(note="", name="", hostname="")

    kept = fresh(alias)
    assert (kept.note, kept.name, kept.hostname) == ("", "", "")


@pytest.mark.parametrize("change", [{"note": "x" * 10_001}, {"name": "x" * 129}, {"note": "a\x00"}])
def test_what_breaks_a_rule_changes_nothing(alias: Alias, change: dict[str, str]) -> None:
    with pytest.raises(refusals.InvalidValue):
        alias.edit(**{"note": "new", "name": "new", **change})  # type: ignore[arg-type]

    kept = fresh(alias)
    assert (kept.note, kept.name) == ("mine", "Alice")


def test_the_address_stays_when_the_hostname_changes(alias: Alias) -> None:
    before = alias.address

    alias.edit(hostname="gitlab.com")

    assert fresh(alias).address == before


# --- Destinations ------------------------------------------------------------------------------


def test_destinations_change_in_the_order_given(alias: Alias, home: EmailAddress) -> None:
    alias.set_destinations(["Alice@Home.test", "alice@example.com"])

    assert sent_to(alias) == ["alice@home.test", "alice@example.com"]
    assert [address.email for address in alias.destination_addresses] == [
        "alice@home.test",
        "alice@example.com",
    ]


@pytest.mark.parametrize(
    ("destinations", "refusal"),
    [
        ([], refusals.NotAnAddress),
        (["alice"], refusals.NotAnAddress),
        (["mallory@evil.test"], refusals.DestinationForbidden),
        (["alice@example.com", "alice@unverified.test"], refusals.DestinationForbidden),
    ],
)
def test_a_wrong_destination_changes_nothing(
    alias: Alias, alice: User, mallory: User, destinations: list[str], refusal: type[Exception]
) -> None:
    EmailAddress.objects.create(user=alice, email="alice@unverified.test", verified=False)

    with pytest.raises(refusal):
        alias.set_destinations(destinations)

    assert sent_to(alias) == ["alice@example.com"]


def test_one_change_is_all_or_nothing(alias: Alias) -> None:
    with pytest.raises(refusals.DestinationForbidden):
        alias.change(note="new", destinations=["mallory@evil.test"])

    assert fresh(alias).note == "mine"


def test_a_stripped_alias_gets_no_destinations(alias: Alias) -> None:
    Alias.objects.filter(pk=alias.pk).strip()

    with pytest.raises(refusals.DestinationForbidden):
        fresh(alias).set_destinations(["alice@example.com"])


def test_destinations_of_many_aliases_are_loaded_in_one_statement(
    alice: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(5):
        issue(owner=alice)

    # the aliases; their destinations with the addresses
    with django_assert_num_queries(2):
        found = [alias.destination_addresses[0].email for alias in Alias.objects.all().with_destinations()]

    assert found == ["alice@example.com"] * 5


# --- Questions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("deed", ["nothing", "disable", "soft_delete"])
def test_any_form_of_an_address_finds_its_alias_whatever_its_state(alias: Alias, deed: str) -> None:
    if deed != "nothing":
        getattr(alias, deed)()

    local_part = alias.address.partition("@")[0]
    for form in (alias.address, f"{local_part.upper()}+x@EXAMPLE.com", f" {local_part}@example.com. "):
        assert list(Alias.objects.holding(form)) == [alias]


@pytest.mark.parametrize("text", ["", "garbage", "other@example.com", "@"])
def test_what_is_no_aliases_address_finds_none(alias: Alias, text: str) -> None:
    assert not Alias.objects.holding(text).exists()


def test_figures_add_up_what_the_aliases_did(alice: User, mallory: User, alias: Alias) -> None:
    other = issue(owner=alice)
    Alias.objects.filter(pk=alias.pk).update(forwards=3, blocks=2, replies=1)
    Alias.objects.filter(pk=other.pk).update(forwards=10)

    assert Alias.objects.owned_by(alice).figures() == {
        "aliases": 2,
        "forwards": 13,
        "blocks": 2,
        "replies": 1,
    }
    assert Alias.objects.owned_by(mallory).figures() == {
        "aliases": 0,
        "forwards": 0,
        "blocks": 0,
        "replies": 0,
    }


def test_an_alias_was_active_only_once_mail_reached_it(alias: Alias) -> None:
    before = alias.last_activity

    Alias.objects.filter(pk=alias.pk).update(blocks=1)

    assert before is None
    assert fresh(alias).last_activity == fresh(alias).active_at


def test_lists_begin_with_pinned_and_then_recent_ones(alice: User) -> None:
    first, second, third = (issue(owner=alice) for _ in range(3))
    first.edit(pinned=True)
    Alias.objects.filter(pk=second.pk).update(active_at=timezone.now() + timedelta(hours=1))

    assert list(Alias.objects.owned_by(alice).recent_first()) == [first, second, third]


@pytest.mark.parametrize("text", ["GITHUB.", "mine", "MINE", "www.git", "alice", " mine "])
def test_searching_looks_into_address_note_hostname_and_name(alice: User, alias: Alias, text: str) -> None:
    issue(owner=alice, hostname="gitlab.com")

    assert list(Alias.objects.owned_by(alice).search(text)) == [alias]


@pytest.mark.parametrize("text", ["%", "_", "\\", "nothing such"])
def test_searching_takes_signs_as_they_are(alice: User, alias: Alias, text: str) -> None:
    assert not Alias.objects.owned_by(alice).search(text).exists()


def test_searching_for_nothing_finds_everything(alice: User, alias: Alias) -> None:
    assert list(Alias.objects.owned_by(alice).search(" \x00")) == [alias]


def test_nothing_is_written_on_an_alias_that_was_stripped_meanwhile(alice: User, alias: Alias) -> None:
    before = Alias.objects.get(pk=alias.pk)
    Alias.objects.filter(pk=alias.pk).strip()

    before.edit(note="secret", name="Alice", pinned=True)
    with pytest.raises(refusals.DestinationForbidden):
        before.set_destinations([alice.email])

    left = Alias.objects.get(pk=alias.pk)
    assert (left.note, left.name, left.pinned, left.destination_addresses) == ("", "", False, [])
    # Nothing of it stands in the way of the end of the account.
    close_account(alice)


def test_a_person_reads_the_alias_in_u_labels(alice: User) -> None:
    domain = Domain.objects.create(name="bücher.example", anonmail_enabled=True, audience="everyone")

    alias = issue(owner=alice, domain=domain.name, hostname="github.com")

    assert str(alias).endswith("@bücher.example")
