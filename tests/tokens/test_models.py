"""The token itself: made once, kept as a digest, good until it is not."""

import hashlib
import re
from datetime import timedelta

import pytest
import time_machine
from django.db import IntegrityError, InternalError, OperationalError, transaction
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from core.late_writes import LateWriter
from tokens.models import NETWORKS_MAX, InvalidNetwork, Token, clean_networks, digest_of
from tokens.scopes import EVERYTHING, InvalidScopes, Scope

HERE = "192.0.2.7"


def later(**period: float) -> time_machine.travel:
    return time_machine.travel(timezone.now() + timedelta(**period), tick=False)


def test_a_secret_is_alphanumeric_and_long_enough(alice: User) -> None:
    _token, secret = Token.objects.issue(owner=alice, name="Bitwarden")

    assert re.fullmatch(r"[A-Za-z0-9]{40,60}", secret)
    # 62 characters carry 5.95 bits each
    assert len(secret) * 5.95 >= 160


def test_two_secrets_differ(alice: User) -> None:
    secrets = {Token.objects.issue(owner=alice, name="x")[1] for _ in range(20)}

    assert len(secrets) == 20


def test_only_the_digest_is_kept(alice: User) -> None:
    token, secret = Token.objects.issue(owner=alice, name="Bitwarden")

    row = Token.objects.filter(pk=token.pk).values().get()
    assert row["digest"] == hashlib.sha256(secret.encode()).hexdigest() == digest_of(secret)
    assert secret not in repr(row)
    assert secret not in repr(vars(token))


def test_a_digest_stands_for_one_token(alice: User, mallory: User) -> None:
    token, _secret = Token.objects.issue(owner=alice, name="x")

    with pytest.raises(IntegrityError), transaction.atomic():
        Token.objects.create(owner=mallory, name="y", digest=token.digest)


def test_a_new_token_works_from_anywhere(alice: User) -> None:
    token, _secret = Token.objects.issue(owner=alice, name=" Bitwarden ")

    assert token.accepts(HERE)
    assert token.accepts("2001:db8::1")
    assert list(Token.objects.live()) == [token]
    assert (token.name, token.last_used) == ("Bitwarden", None)


def test_a_token_ends_when_it_expires(alice: User) -> None:
    token, _secret = Token.objects.issue(owner=alice, name="x", expires=timezone.now() + timedelta(days=1))
    before = token.accepts(HERE), Token.objects.live().exists()

    with later(days=1, seconds=1):
        after = token.accepts(HERE), Token.objects.live().exists()

    assert before == (True, True)
    assert after == (False, False)


def test_a_token_ends_with_its_owners_deactivation_for_good(alice: User) -> None:
    token, _secret = Token.objects.issue(owner=alice, name="x")

    alice.deactivate()
    while_inactive = Token.objects.get(pk=token.pk).accepts(HERE), Token.objects.live().exists()
    alice.activate()
    afterwards = Token.objects.get(pk=token.pk).accepts(HERE), Token.objects.live().exists()

    assert while_inactive == (False, False)
    assert afterwards == (False, False)


def test_a_token_made_after_the_reactivation_works(alice: User) -> None:
    alice.deactivate()
    alice.activate()

    token, _secret = Token.objects.issue(owner=alice, name="x")

    assert token.accepts(HERE)
    assert list(Token.objects.live()) == [token]


def test_one_owners_deactivation_leaves_others_tokens(alice: User, mallory: User) -> None:
    token, _secret = Token.objects.issue(owner=alice, name="x")

    mallory.deactivate()

    assert Token.objects.get(pk=token.pk).accepts(HERE)


def test_a_revoked_token_is_gone(alice: User) -> None:
    token, _secret = Token.objects.issue(owner=alice, name="x")

    token.revoke()

    assert not Token.objects.exists()


@pytest.mark.parametrize(
    ("networks", "address", "accepted"),
    [
        (["192.0.2.0/24"], "192.0.2.7", True),
        (["192.0.2.0/24"], "192.0.3.7", False),
        (["192.0.2.7"], "192.0.2.7", True),
        (["192.0.2.7"], "192.0.2.8", False),
        (["192.0.2.0/24"], "::ffff:192.0.2.7", True),
        (["2001:db8::/32"], "2001:db8:1::1", True),
        (["2001:db8::/32"], "2001:db9::1", False),
        (["2001:db8::/32"], "192.0.2.7", False),
        (["10.0.0.0/8", "2001:db8::/32"], "10.1.2.3", True),
        (["10.0.0.0/8"], "", False),
        (["10.0.0.0/8"], "garbage", False),
    ],
)
def test_a_token_works_from_its_networks_only(
    alice: User, networks: list[str], address: str, accepted: bool
) -> None:
    token, _secret = Token.objects.issue(owner=alice, name="x", networks=networks)

    assert Token.objects.get(pk=token.pk).accepts(address) is accepted


def test_networks_are_kept_in_one_form_and_once() -> None:
    networks = ["192.0.2.7/24", " 192.0.2.0/24 ", "2001:DB8::1", "2001:db8::1/128"]

    assert clean_networks(networks) == ["192.0.2.0/24", "2001:db8::1/128"]


@pytest.mark.parametrize("text", ["", "example.com", "192.0.2.0/33", "192.0.2", "192.0.2.1-9", "*"])
def test_what_is_no_network_makes_no_token(alice: User, text: str) -> None:
    with pytest.raises(InvalidNetwork):
        Token.objects.issue(owner=alice, name="x", networks=[text])

    assert not Token.objects.exists()


def test_a_token_has_so_many_networks_and_no_more() -> None:
    with pytest.raises(InvalidNetwork):
        clean_networks(f"10.0.{number}.0/24" for number in range(NETWORKS_MAX + 1))


def test_the_last_use_is_written_at_most_once_a_minute(
    alice: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    token, _secret = Token.objects.issue(owner=alice, name="x")
    start = timezone.now()

    # the last use
    with time_machine.travel(start, tick=False), django_assert_num_queries(1):
        token.note_use()
    token.refresh_from_db()
    with time_machine.travel(start + timedelta(seconds=59), tick=False), django_assert_num_queries(0):
        token.note_use()
    first = Token.objects.get().last_used
    with time_machine.travel(start + timedelta(seconds=60), tick=False), django_assert_num_queries(1):
        token.note_use()

    assert first == start
    assert Token.objects.get().last_used == start + timedelta(seconds=60)


def test_a_user_sees_the_own_tokens(alice: User, mallory: User) -> None:
    token, _secret = Token.objects.issue(owner=alice, name="x")
    Token.objects.issue(owner=mallory, name="y")

    assert list(Token.objects.owned_by(alice)) == [token]


def test_tokens_go_with_their_owner(mallory: User) -> None:
    Token.objects.issue(owner=mallory, name="x")

    mallory.delete()

    assert not Token.objects.exists()


def test_a_token_creates_and_lists_unless_it_is_given_more(alice: User) -> None:
    token, _secret = Token.objects.issue(owner=alice, name="x")
    more, _secret = Token.objects.issue(owner=alice, name="y", scopes=EVERYTHING)

    assert Token.objects.get(pk=token.pk).rights == Scope.CREATE
    assert Token.objects.get(pk=more.pk).rights.words == ["create", "manage", "activity", "send"]


@pytest.mark.parametrize("scopes", [0, 16, 17, -1, 2**15])
def test_no_right_and_unknown_rights_make_no_token(alice: User, scopes: int) -> None:
    with pytest.raises(InvalidScopes):
        Token.objects.issue(owner=alice, name="x", scopes=scopes)  # type: ignore[arg-type]

    assert not Token.objects.exists()


def test_the_database_takes_no_token_without_a_right(alice: User) -> None:
    with pytest.raises(IntegrityError):
        Token.objects.create(owner=alice, name="x", digest="0" * 64, scopes=0)


def test_a_use_that_a_wrong_clock_wrote_is_written_anew(alice: User) -> None:
    token, _secret = Token.objects.issue(owner=alice, name="x")
    with later(days=365):
        token.note_use()

    Token.objects.get(pk=token.pk).note_use()

    token.refresh_from_db()
    assert token.last_used is not None
    assert token.last_used <= timezone.now()


@pytest.mark.parametrize("error", [OperationalError("full"), InternalError("read-only")])
def test_uses_that_cannot_be_written_stop_nobody_and_are_logged_once_a_minute(
    alice: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    token, _secret = Token.objects.issue(owner=alice, name="x")
    now = 1_000.0

    def fail(keys: set[int]) -> None:
        raise error

    monkeypatch.setattr("tokens.models._uses", LateWriter(fail))
    monkeypatch.setattr("core.late_writes.time.monotonic", lambda: now)

    for _ in range(100):
        token.note_use()
    assert len(caplog.records) == 1

    now += 60
    token.note_use()
    assert len(caplog.records) == 2


def test_a_token_made_after_a_deactivation_under_a_wrong_clock_works(alice: User) -> None:
    with later(days=365):
        alice.deactivate()
    alice.activate()

    token, _secret = Token.objects.issue(owner=alice, name="x")

    assert token.accepts(HERE)
    assert list(Token.objects.live()) == [token]

    alice.deactivate()
    alice.activate()

    assert not Token.objects.live().exists()
