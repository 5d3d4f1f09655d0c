"""Making an alias: which name it gets, and which names nobody gets."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
import time_machine
from allauth.account.models import EmailAddress
from django.utils import timezone

from accounts.models import User
from aliases import exceptions as refusals
from aliases import naming
from aliases.issuing import issue
from aliases.models import Alias, AliasPreferences
from core.ratelimit import Counter
from domains.models import Domain

Propose = Callable[..., None]
WORD = r"github\.[a-z]+"
CHARACTERS = r"github\.[a-z0-9]{8}"
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


@pytest.fixture
def propose(monkeypatch: pytest.MonkeyPatch) -> Propose:
    """Makes the naming propose these local parts, one after another."""

    def set_names(*names: str) -> None:
        def candidates(site: str = "", style: str = "") -> Iterator[str]:
            return iter(names)

        monkeypatch.setattr(naming, "candidates", candidates)

    return set_names


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
        AliasPreferences.objects.create(user=alice, style=preferred)
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
def test_an_own_address_is_never_given_out_once_it_is_verified(
    alice: User, mallory: User, propose: Propose, own: str, verified: bool, whose: str
) -> None:
    user = alice if whose == "alice" else mallory
    EmailAddress.objects.create(user=user, email=own, verified=verified)
    propose("carol.smith", "carol.smith.red")

    alias = issue(owner=alice)

    # Anybody could keep a name from everybody with an address that is not theirs.
    assert alias.address == f"carol.smith{'.red' if verified else ''}@example.com"
    assert [address.email for address in alias.destination_addresses] == [alice.email]


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
