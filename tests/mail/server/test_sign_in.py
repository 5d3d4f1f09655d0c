"""Signing in at the submission door: who may, how, and what everybody else is told."""

import base64
import logging
import smtplib
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.db import OperationalError
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from core.ratelimit import Counter
from mail.server import limits
from mail.server.sign_in import SignIn
from tests.rig.mail_doors import Hop, running_doors
from tokens.models import Token
from tokens.scopes import EVERY_CALL, Scope

pytestmark = pytest.mark.django_db(transaction=True)

WRONG = (535, b"5.7.8 Wrong e-mail address or token")
TOO_MANY = (454, b"4.7.0 Too many wrong attempts, try again later")
SIGNED_IN = (235, b"2.7.0 Signed in")
NO_TLS = (538, b"5.7.11 Sign in over TLS only")
NOBODYS = "x" * 48


@pytest.fixture
def place(settings: Settings) -> Iterator[tuple[str, int]]:
    settings.MAIL_HOSTNAME = "mx.example.com"
    with running_doors(Hop(), "submission") as places:
        yield places["submission"]


@pytest.fixture
def secret(alice: User) -> str:
    return Token.objects.issue(owner=alice, name="Thunderbird", scopes=Scope.SEND)[1]


@pytest.fixture
def alias(alice: User) -> Alias:
    return issue(owner=alice)


@pytest.fixture
def from_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients are not on this machine."""
    monkeypatch.setattr(limits, "client_address", lambda peer: "192.0.2.9")


@contextmanager
def client(place: tuple[str, int]) -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP(*place, local_hostname="x.test", timeout=20) as made:
        made.ehlo()
        yield made


def plain(name: str, password: str, for_whom: str = "") -> str:
    return base64.b64encode(f"{for_whom}\0{name}\0{password}".encode()).decode()


def sign_in(place: tuple[str, int], name: str, password: str) -> tuple[int, bytes]:
    with client(place) as server:
        return server.docmd("AUTH", f"PLAIN {plain(name, password)}")


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("initial", [True, False])
def test_an_address_and_a_token_sign_in(
    place: tuple[str, int], alice: User, secret: str, mechanism: str, initial: bool
) -> None:
    with client(place) as server:
        assert server.esmtp_features["auth"].split() == ["PLAIN", "LOGIN"]
        server.user, server.password = alice.email, secret  # type: ignore[attr-defined]
        method = getattr(server, f"auth_{mechanism.lower()}")
        assert server.auth(mechanism, method, initial_response_ok=initial)[0] == 235
        assert server.docmd("AUTH", "PLAIN")[0] == 503
    assert Token.objects.get().last_used is not None
    assert not Counter.objects.exists()


@pytest.mark.parametrize("written", ["auth plain", "Auth Plain", "AUTH  PLAIN "])
def test_the_mechanism_is_understood_as_programs_write_it(
    place: tuple[str, int], alice: User, secret: str, written: str
) -> None:
    with client(place) as server:
        assert server.docmd(written)[0] == 334
        assert server.docmd(plain(alice.email, secret)) == SIGNED_IN


def test_names_and_passwords_are_understood_as_people_enter_them(
    place: tuple[str, int], alice: User, alias: Alias, secret: str
) -> None:
    EmailAddress.objects.create(user=alice, email="home@xn--bcher-kva.example", verified=True)
    names = (alice.email, "ALICE@Example.COM", " alice@example.com ", "home@bücher.example", alias.address)

    assert {sign_in(place, name, secret) for name in names} == {SIGNED_IN}
    # The key as the page shows it.
    assert sign_in(place, alice.email, f"{alice.email}:{secret}") == SIGNED_IN
    with client(place) as server:
        assert server.docmd("AUTH", f"PLAIN {plain(alice.email, secret, alice.email)}") == SIGNED_IN


def test_whatever_is_wrong_gets_one_answer(
    place: tuple[str, int], alice: User, mallory: User, alias: Alias, secret: str, settings: Settings
) -> None:
    settings.AUTH_FAILURES_PER_ADDRESS_PER_HOUR = 100
    EmailAddress.objects.create(user=alice, email="new@home.test", verified=False)
    own, unverified = Token.objects.issue(owner=mallory, name="x", scopes=Scope.SEND)[1], "new@home.test"
    expired = Token.objects.issue(owner=alice, name="x", scopes=Scope.SEND, expires=timezone.now())[1]
    bound = Token.objects.issue(owner=alice, name="x", scopes=Scope.SEND, networks=["192.0.2.0/24"])[1]
    tries = [
        ("", secret),
        ("nobody@example.com", secret),
        ("nobody@elsewhere.test", NOBODYS),
        (alice.email, NOBODYS),
        (alice.email, "alice-password-1"),
        (alice.email, ""),
        (alice.email, own),
        (mallory.email, secret),
        (alias.address, own),
        (unverified, secret),
        (alice.email, expired),
        (alice.email, bound),
        (alice.email, "ä" * 48),
    ]

    assert {sign_in(place, *each) for each in tries} == {WRONG}
    alice.deactivate()
    assert sign_in(place, alice.email, secret) == WRONG


def test_a_token_without_the_right_is_told_so_and_is_no_wrong_try(
    place: tuple[str, int], alice: User, settings: Settings
) -> None:
    secret = Token.objects.issue(owner=alice, name="Bitwarden", scopes=EVERY_CALL)[1]

    code, said = sign_in(place, alice.email, secret)

    assert code == 535
    assert said.decode() == (
        f'5.7.8 This token lacks the right "Send mail". Make one that has it at {settings.SITE_URL}'
    )
    assert not Counter.objects.exists()


def test_wrong_tries_are_limited_and_shut_nobody_else_out(
    place: tuple[str, int], alice: User, secret: str, settings: Settings
) -> None:
    """Neither the client nor the account that was guessed at: a token that is right always is."""
    settings.AUTH_FAILURES_PER_ADDRESS_PER_HOUR = 4
    answers = [sign_in(place, alice.email, NOBODYS) for _ in range(6)]

    assert answers == [WRONG] * 4 + [TOO_MANY] * 2
    assert sign_in(place, alice.email, secret) == SIGNED_IN
    assert sign_in(place, "nobody@example.com", NOBODYS) == TOO_MANY
    assert {counter.scope for counter in Counter.objects.all()} == {"auth-address", "auth-account"}


def test_guesses_of_many_accounts_count_for_the_client(place: tuple[str, int], settings: Settings) -> None:
    settings.AUTH_FAILURES_PER_ADDRESS_PER_HOUR = 3

    answers = [sign_in(place, f"user{number}@example.com", NOBODYS) for number in range(4)]

    assert answers == [WRONG] * 3 + [TOO_MANY]
    # A client over its limit adds no more rows.
    assert Counter.objects.count() == 4


def test_a_connection_ends_after_three_wrong_tries(place: tuple[str, int], alice: User) -> None:
    with client(place) as server:
        words = f"PLAIN {plain(alice.email, NOBODYS)}"
        assert [server.docmd("AUTH", words) for _ in range(3)] == [WRONG] * 3
        with pytest.raises(smtplib.SMTPServerDisconnected):
            server.noop()


def test_an_unknown_person_costs_as_many_statements_as_a_known_one(
    alice: User, alias: Alias, secret: str, django_assert_num_queries: Any
) -> None:
    """The token by the name, and by itself; is the client's limit used up; the two counters."""
    for name in (alice.email, "nobody@example.com", alias.address, "nobody@elsewhere.test"):
        with django_assert_num_queries(4):
            SignIn(name, NOBODYS, "192.0.2.9").answer()


@pytest.mark.usefixtures("from_far")
def test_nobody_signs_in_over_the_network_without_tls(
    place: tuple[str, int], alice: User, secret: str
) -> None:
    with client(place) as server:
        assert "auth" not in server.esmtp_features
        assert server.docmd("AUTH", f"PLAIN {plain(alice.email, secret)}") == NO_TLS
        assert server.docmd("AUTH", "LOGIN") == NO_TLS
        assert server.docmd("MAIL FROM:<a@example.com>")[0] == 530


@pytest.mark.usefixtures("from_far")
@pytest.mark.parametrize("door", ["submission", "submission_tls"])
def test_tls_opens_the_door_to_those_far_away(
    alice: User, secret: str, certificate: ssl.SSLContext, door: str
) -> None:
    with running_doors(Hop(), door, tls=certificate) as places:
        made = (
            smtplib.SMTP(*places[door], timeout=20)
            if door == "submission"
            else smtplib.SMTP_SSL(*places[door], context=trusting(), timeout=20)
        )
        with made as server:
            server.ehlo()
            assert ("starttls" in server.esmtp_features) is (door == "submission")
            if door == "submission":
                server.starttls(context=trusting())
                server.ehlo()
            assert "starttls" not in server.esmtp_features
            assert server.login(alice.email, secret) == SIGNED_IN


def test_who_signed_in_before_starttls_has_to_again(
    alice: User, alias: Alias, secret: str, certificate: ssl.SSLContext
) -> None:
    """RFC 3207 §4.2: nothing that was said in the clear counts."""
    with (
        running_doors(Hop(), "submission", tls=certificate) as places,
        client(places["submission"]) as server,
    ):
        server.login(alice.email, secret)
        server.starttls(context=trusting())
        server.ehlo()
        assert server.mail(alias.address)[0] == 530


def test_commands_before_the_handshake_are_not_taken_for_encrypted_ones(
    alice: User, secret: str, certificate: ssl.SSLContext
) -> None:
    with running_doors(Hop(), "submission", tls=certificate) as places:
        peer = socket.create_connection(places["submission"], 20)
        peer.sendall(b"EHLO x.test\r\n")
        greeting = b""
        while b"\r\n250 HELP\r\n" not in greeting:
            greeting += peer.recv(1000)
        peer.sendall(f"STARTTLS\r\nAUTH PLAIN {plain(alice.email, secret)}\r\n".encode())
        assert peer.recv(1000).startswith(b"220 ")
        with trusting().wrap_socket(peer) as encrypted:
            encrypted.sendall(b"EHLO x.test\r\nMAIL FROM:<a@example.com>\r\n")
            said = b""
            while b"\r\n530 " not in said:
                said += encrypted.recv(1000)
            assert b"235 " not in said


HANDSHAKES = 3


def test_handshakes_that_never_end_count_as_connections(
    certificate: ssl.SSLContext, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MAIL_CONNECTIONS = HANDSHAKES
    monkeypatch.setattr("mail.server.tls.HANDSHAKE_TIME", 1)
    with running_doors(Hop(), "submission_tls", tls=certificate) as places:
        silent = [socket.create_connection(places["submission_tls"], 20) for _ in range(HANDSHAKES)]
        with pytest.raises(OSError, match=r"."):
            smtplib.SMTP_SSL(*places["submission_tls"], context=trusting(), timeout=20)
        # They are ended, and their places are free again.
        assert [each.recv(10) for each in silent] == [b""] * HANDSHAKES
        with smtplib.SMTP_SSL(*places["submission_tls"], context=trusting(), timeout=20) as server:
            assert server.noop()[0] == 250
        for each in silent:
            each.close()


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("AUTH", b"504 5.5.4 "),
        ("AUTH CRAM-MD5", b"504 5.5.4 "),
        ("AUTH XOAUTH2 AAAA", b"504 5.5.4 "),
        ("AUTH PLAIN not-base64!", b"501 5.5.2 "),
        ("AUTH PLAIN =", b"501 5.5.2 "),
        ("AUTH PLAIN AAAA AAAA", b"501 5.5.2 "),
        ("AUTH PLAIN YWxpY2U=", b"501 5.5.2 "),
        (f"AUTH PLAIN {plain('alice@example.com', NOBODYS, 'bob@example.com')}", b"501 5.5.2 "),
        ("AUTH PLAIN\r\n*", b"501 5.7.0 "),
        ("AUTH LOGIN\r\n*", b"501 5.7.0 "),
        ("AUTH LOGIN YWxpY2U=\r\n*", b"501 5.7.0 "),
        ("AUTH LOGIN\r\nYWxpY2U=\r\n!", b"501 5.5.2 "),
        (f"AUTH PLAIN {'A' * 2000}", b"500 "),
        (f"AUTH PLAIN\r\n{'A' * 2000}", b"500 5.5.6 "),
    ],
)
def test_what_cannot_be_read_is_refused(
    place: tuple[str, int], alice: User, said: str, answer: bytes
) -> None:
    with socket.create_connection(place, 20) as peer, peer.makefile("rb") as stream:
        peer.sendall(b"EHLO x.test\r\n")
        lines = iter(stream.readline, b"")
        assert next(line for line in lines if line.startswith(b"250 "))
        for line in said.encode().split(b"\r\n"):
            peer.sendall(line + b"\r\n")
            answered = next(lines)
        assert answered.startswith(answer), answered
    assert not Counter.objects.exists()


def test_auth_comes_after_ehlo_and_not_within_a_message(
    place: tuple[str, int], alice: User, alias: Alias, secret: str
) -> None:
    with smtplib.SMTP(*place, timeout=20) as server:
        assert server.docmd("AUTH", "PLAIN")[0] == 503
        server.login(alice.email, secret)
        assert server.mail(alias.address) == (250, b"2.1.0 OK")
        assert server.docmd("AUTH", "PLAIN")[0] == 503


def test_a_sender_may_name_whoever_signed_in_to_another_server(
    place: tuple[str, int], alice: User, alias: Alias, secret: str
) -> None:
    """RFC 4954 §5: a server that offers AUTH understands AUTH= at MAIL, and tells nobody."""
    with client(place) as server:
        server.login(alice.email, secret)
        assert server.mail(alias.address, ["AUTH=<>", "BODY=8BITMIME"]) == (250, b"2.1.0 OK")


def test_while_the_database_is_away_the_answer_is_later(
    place: tuple[str, int], alice: User, alias: Alias, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_args: object, **_options: object) -> None:
        raise OperationalError

    with client(place) as server:
        server.login(alice.email, secret)
        monkeypatch.setattr("mail.server.sign_in.find_token", away)
        monkeypatch.setattr("mail.server.sign_in._aliases_of", away)
        assert server.mail(alias.address) == (451, b"4.3.0 Cannot look this up now, try again later")
    assert sign_in(place, alice.email, secret) == (454, b"4.7.0 Cannot look this up now, try again later")


def test_secrets_and_names_are_in_no_log(
    place: tuple[str, int], alice: User, alias: Alias, secret: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name, password in ((alice.email, secret), (alice.email, NOBODYS), ("nobody@example.com", secret)):
        sign_in(place, name, password)
    with client(place) as server:
        server.user, server.password = alice.email, secret  # type: ignore[attr-defined]
        server.auth("LOGIN", server.auth_login)
        server.mail(alias.address)

    encoded = base64.b64encode(secret.encode()).decode()
    for word in (secret, NOBODYS, "alice", "nobody", alias.address, encoded):
        assert word not in caplog.text


def test_a_token_that_is_revoked_ends_what_it_opened(
    place: tuple[str, int], alice: User, alias: Alias, secret: str
) -> None:
    ended = (530, b"5.7.0 The token no longer works: sign in with another one")
    ways: list[Any] = [
        lambda: Token.objects.get().revoke(),
        lambda: Token.objects.update(expires=timezone.now() - timedelta(minutes=1)),
        lambda: Token.objects.update(scopes=EVERY_CALL.value),
        lambda: alice.deactivate(),
    ]
    for end in ways:
        if not Token.objects.exists():
            secret = Token.objects.issue(owner=alice, name="x", scopes=Scope.SEND)[1]
        Token.objects.update(expires=None, scopes=Scope.SEND.value)
        with client(place) as server:
            server.login(alice.email, secret)
            assert server.mail(alias.address)[0] == 250
            server.rset()
            end()
            assert server.mail(alias.address) == ended
