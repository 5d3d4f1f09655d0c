"""What somebody who is not signed in may ask for: the answers are alike, the truth goes by mail."""

import json
import re
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.core.cache import cache
from django.core.mail import EmailMessage
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.http import int_to_base36
from pytest_django import Settings

from accounts import signed_out
from accounts.models import User
from aliases.issuing import issue
from core import after_answer
from core.ratelimit import Counter, Limit

pytestmark = pytest.mark.django_db

PASSPHRASE = "a-long-passphrase"

Ask = Callable[[str], Any]


def sign_up(email: str) -> HttpResponse:
    return Client().post(  # type: ignore[return-value]
        "/accounts/signup/", {"email": email, "password1": PASSPHRASE, "password2": PASSPHRASE}
    )


def reset(email: str) -> HttpResponse:
    return Client().post("/accounts/password/reset/", {"email": email})  # type: ignore[return-value]


def page(email: str) -> HttpResponse:
    return Client().post(  # type: ignore[return-value]
        "/accounts/login/", {"login": email, "password": "wrong-passphrase"}
    )


def api(email: str) -> HttpResponse:
    return Client().post(  # type: ignore[return-value]
        "/api/auth/login",
        {"email": email, "password": "wrong-passphrase"},
        content_type="application/json",
    )


FORMS = {"sign_up": sign_up, "reset": reset, "page": page, "api": api}


@pytest.fixture
def people(alice: User, settings: Settings) -> dict[str, str]:
    """An address of each kind; `free` first."""
    settings.SIGNUP_OPEN = True
    User.objects.create_user("gone@example.com", PASSPHRASE, is_active=False)
    User.objects.create_user("fresh@example.com")
    EmailAddress.objects.create(user=alice, email="second@home.test", verified=True)
    EmailAddress.objects.create(user=alice, email="third@home.test")
    return {
        "free": "nobody@home.test",
        "account": alice.email,
        "inactive": "gone@example.com",
        "no password yet": "fresh@example.com",
        "a destination": "second@home.test",
        "not verified": "third@home.test",
        "alias": issue(owner=alice).address,
    }


@pytest.mark.parametrize("form", FORMS)
def test_the_answer_is_the_same_for_everybody(
    people: dict[str, str], form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status, words, headers and cookies; and before it the same statements, the same number of hashes."""
    monkeypatch.setattr("core.after_answer.start", lambda run: None)
    seen = {}
    for name, email in people.items():
        with CaptureQueriesContext(connection) as queries:
            answer = FORMS[form](email)
        seen[name] = (
            answer.status_code,
            sorted(
                (key, value)
                for key, value in answer.headers.items()
                if key not in {"Expires", "Content-Length"}
            ),
            sorted(answer.cookies),
            _without_input(answer.content.decode(), email),
            _statements(queries),
        )

    assert {name: found for name, found in seen.items() if found != seen["free"]} == {}


def _statements(queries: CaptureQueriesContext) -> list[str]:
    """What was asked of the database, without about whom."""
    return [re.split(r" WHERE | VALUES |unnest| \"s\d+_x", query["sql"])[0] for query in queries]


def _without_input(text: str, email: str) -> str:
    """The page without what was typed, and without the token against forged forms."""
    return re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", text).replace(email, "…")


@pytest.mark.parametrize("form", FORMS)
def test_one_password_is_hashed_for_everybody(
    people: dict[str, str], form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = []

    def count(self: Any, password: str, salt: str) -> str:
        hashed.append(password)
        return f"md5${salt}$x"

    monkeypatch.setattr("django.contrib.auth.hashers.MD5PasswordHasher.encode", count)
    monkeypatch.setattr("core.after_answer.start", lambda run: None)
    numbers = {}
    for name, email in people.items():
        hashed.clear()
        FORMS[form](email)
        numbers[name] = len(hashed)

    assert set(numbers.values()) == {0 if form == "reset" else 1}, numbers


def test_a_new_password_is_mailed_to_who_signs_in_with_the_address_and_to_nobody_else(
    people: dict[str, str],
) -> None:
    for email in people.values():
        reset(email)

    assert [message.to for message in mail.outbox] == [["alice@example.com"], ["fresh@example.com"]]


def test_signing_up_with_an_address_that_has_an_account_is_told_to_its_owner(people: dict[str, str]) -> None:
    users = User.objects.count()

    for name in ("account", "a destination", "inactive"):
        sign_up(people[name])

    assert [message.to for message in mail.outbox] == [
        [people["account"]],
        [people["a destination"]],
        [people["inactive"]],
    ]
    assert all("Someone tried to create an account" in message.subject for message in mail.outbox)
    assert all("http://localhost:8000/accounts/login/" in message.body for message in mail.outbox)
    assert User.objects.count() == users


@pytest.mark.parametrize("form", ["{0}", "{1}+tag@{2}", "{3}@{2}"])
def test_an_aliases_owner_hears_nothing_of_a_sign_up(people: dict[str, str], form: str) -> None:
    users = User.objects.count()
    address = people["alias"]
    local_part, _at, domain = address.partition("@")

    sign_up(form.format(address, local_part, domain, local_part.upper()))

    assert mail.outbox == []
    assert User.objects.count() == users


def test_signing_up_makes_an_account_that_waits_for_its_link(people: dict[str, str]) -> None:
    sign_up("Eva@Home.test")

    address = EmailAddress.objects.get(email="eva@home.test")
    (message,) = mail.outbox
    assert (address.verified, address.primary, message.to) == (False, True, ["eva@home.test"])
    assert address.user.check_password(PASSPHRASE)
    assert "http://localhost:8000/accounts/confirm-email/" in message.body


def test_an_address_that_another_person_only_claims_is_free(people: dict[str, str]) -> None:
    """Or anybody could keep people out by adding their addresses, unverified, to the own account."""
    sign_up(people["not verified"])

    assert User.objects.filter(email=people["not verified"]).exists()
    assert mail.outbox[0].to == [people["not verified"]]


def test_the_host_of_a_request_stands_in_no_mail(people: dict[str, str]) -> None:
    for email in ("eva@home.test", people["account"]):
        Client().post(
            "/accounts/signup/",
            {"email": email, "password1": PASSPHRASE, "password2": PASSPHRASE},
            HTTP_HOST="localhost:6666",
        )
    Client().post("/accounts/password/reset/", {"email": people["account"]}, HTTP_HOST="localhost:6666")

    assert len(mail.outbox) == 3
    assert not any("6666" in message.body + message.subject for message in mail.outbox)


def test_a_password_that_is_too_weak_is_told_whatever_the_address_is(people: dict[str, str]) -> None:
    for email in people.values():
        answer = Client().post(
            "/accounts/signup/", {"email": email, "password1": "short", "password2": "short"}
        )
        assert "This password is too short" in answer.content.decode()

    assert mail.outbox == []


@pytest.mark.parametrize(("ask", "limit"), [(sign_up, signed_out.MAILS), (reset, signed_out.LINKS)])
def test_one_address_gets_a_few_mails_whoever_asks(
    people: dict[str, str], ask: Ask, limit: Limit, settings: Settings
) -> None:
    """Nobody's mailbox is flooded, and the answer does not tell."""
    settings.ACCOUNT_RATE_LIMITS = False
    answers = [ask(people["account"]) for _number in range(limit.amount + 3)]

    assert {(answer.status_code, answer["Location"]) for answer in answers} == {(302, answers[0]["Location"])}
    assert len(mail.outbox) == limit.amount


def link_in(message: EmailMessage) -> str:
    found = re.search(r"http://localhost:8000(/accounts/password/reset/key/\S+)", str(message.body))
    assert found
    return found[1]


def test_a_stranger_who_asks_for_links_keeps_the_owner_from_nothing(alice: User, settings: Settings) -> None:
    settings.ACCOUNT_RATE_LIMITS = False

    def use_up() -> None:
        for _number in range(signed_out.LINKS_BY_ALL.amount + 1):
            sign_up(alice.email)
            reset(alice.email)

    def works(message: EmailMessage) -> bool:
        return "New password, again" in Client().get(link_in(message), follow=True).content.decode()

    settings.SIGNUP_OPEN = True
    use_up()
    sent = [message for message in mail.outbox if "password/reset/key" in message.body]
    # What is refused is refused because there are so many that work.
    assert len(sent) == signed_out.LINKS.amount
    assert all(map(works, sent))
    # A sign-in ends them.
    for number in range(2):
        User.objects.filter(pk=alice.pk).update(last_login=timezone.now() + timedelta(minutes=number))
        assert not works(sent[-1])
        mail.outbox.clear()
        use_up()
        sent = [message for message in mail.outbox if "password/reset/key" in message.body]
        assert sent
        assert works(sent[0])
    # By now, the mailbox has had as many as it gets of all: one more for each time they end.
    assert len(sent) == 1


def test_links_for_new_passwords_go_to_a_mailbox_so_often_a_day_whatever_its_tag(settings: Settings) -> None:
    settings.ACCOUNT_RATE_LIMITS = False
    for number in range(30):
        User.objects.sign_up(f"victim+{number}@elsewhere.test", "x")
    verified = User.objects.create_user("victim+own@elsewhere.test")

    for number in range(30):
        reset(f"victim+{number}@elsewhere.test")

    assert len(mail.outbox) == signed_out.LINKS_BY_ALL.amount
    # An account that is really the mailbox's gets its first one all the same.
    mail.outbox.clear()
    for _number in range(3):
        reset(verified.email)
    assert [message.to for message in mail.outbox] == [[verified.email]]


def test_a_link_for_a_new_password_that_could_not_be_sent_does_not_count(
    alice: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ACCOUNT_RATE_LIMITS = False

    def away(*args: object, **kwargs: object) -> None:
        raise ConnectionRefusedError

    with monkeypatch.context() as patch:
        patch.setattr("django.core.mail.backends.locmem.EmailBackend.send_messages", away)
        for _number in range(signed_out.LINKS_BY_ALL.amount):
            reset(alice.email)

    reset(alice.email)

    assert [message.to for message in mail.outbox] == [[alice.email]]


def test_one_client_may_ask_for_so_many_and_no_more(people: dict[str, str]) -> None:
    codes = [reset(f"guess{number}@home.test").status_code for number in range(11)]

    assert codes == [302] * 10 + [429]


def test_a_mail_server_that_is_away_or_slow_tells_nothing(
    people: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*args: object, **kwargs: object) -> None:
        raise ConnectionRefusedError(people["account"])

    monkeypatch.setattr("django.core.mail.backends.locmem.EmailBackend.send_messages", away)

    answers = [ask(email) for ask in (sign_up, reset) for email in people.values()]

    assert {answer.status_code for answer in answers} == {302}
    assert "mail not sent after an answer: ConnectionRefusedError" in caplog.text
    assert "@" not in caplog.text


def test_where_too_much_waits_everybody_is_asked_to_come_later(
    people: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(after_answer, "_places", threading.BoundedSemaphore(1))
    monkeypatch.setattr(after_answer, "start", lambda run: None)
    after_answer.do_after_answer(list)

    assert {ask(email).status_code for ask in (sign_up, reset) for email in people.values()} == {429}


@pytest.mark.django_db(transaction=True)
def test_a_thread_of_its_own_does_it_in_the_persons_language(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    done = threading.Event()
    monkeypatch.setattr("accounts.forms.send_new_password_link", lambda email: _send(email, done))

    Client(headers={"accept-language": "de"}).post("/accounts/password/reset/", {"email": alice.email})

    assert done.wait(30)
    assert "Passwort" in mail.outbox[0].body


def _send(email: str, done: threading.Event) -> None:
    try:
        signed_out.send_new_password_link(email)
    finally:
        connection.close()
        done.set()


@pytest.mark.parametrize(
    "key", ["d1jswr-0123456789abcdef0123456789abcdef", "set-password", "x", "-", "d1jswr-ü"]
)
def test_a_wrong_mailed_key_does_not_tell_which_accounts_there_are(
    alice: User, client: Client, key: str
) -> None:
    """Their numbers follow each other, and so would say how many people are here."""
    seen = []
    for number in (int_to_base36(alice.pk), "zzz"):
        with CaptureQueriesContext(connection) as queries:
            answer = client.get(f"/accounts/password/reset/key/{number}-{key}/")
        page = _without_input(answer.content.decode(), f"/{number}-")
        seen.append((answer.status_code, page, _statements(queries)))

    assert seen[0] == seen[1]


def test_the_admins_sign_in_is_the_same_page(client: Client, db: None) -> None:
    answers = [client.get("/admin/login/"), client.post("/admin/login/", {"username": "x", "password": "y"})]

    assert all(answer["Location"].startswith("/accounts/login/") for answer in answers)


def test_a_passkey_that_nobody_has_is_told_as_a_wrong_one(client: Client, alice: User) -> None:
    key = {"id": "AAAA", "rawId": "AAAA", "type": "public-key", "response": {}}

    answer = client.post("/accounts/2fa/webauthn/login/", {"credential": json.dumps(key)})

    assert answer.status_code == 302
    assert answer["Location"].startswith("/accounts/login/")


def test_calls_that_this_server_does_on_pages_alone_say_the_same_of_everybody(people: dict[str, str]) -> None:
    for path in ("register", "forgot_password", "reactivate", "activate"):
        answers = {
            Client()
            .post(f"/api/auth/{path}", {"email": email, "code": "1"}, content_type="application/json")
            .content
            for email in people.values()
        }
        assert len(answers) == 1


def _as_if_an_hour_had_passed() -> None:
    cache.clear()
    Counter.objects.filter(scope="stranger-mail").delete()


def test_sign_ups_mail_a_mailbox_so_often_a_day_whatever_its_tag(people: dict[str, str]) -> None:
    for number in range(22):
        _as_if_an_hour_had_passed()
        sign_up(f"victim+{number}@elsewhere.test")

    assert len(mail.outbox) == 20
    # Else strangers could keep it from ever being verified.
    _as_if_an_hour_had_passed()
    sign_up("victim@elsewhere.test")
    assert [message.to for message in mail.outbox[20:]] == [["victim@elsewhere.test"]]


def test_the_owner_of_an_account_hears_of_so_many_sign_ups_a_day(people: dict[str, str]) -> None:
    for _ in range(12):
        _as_if_an_hour_had_passed()
        sign_up(people["account"])

    assert len(mail.outbox) == 10


def test_signing_in_mails_the_link_of_a_new_account_so_often_a_day(people: dict[str, str]) -> None:
    sign_up("eva@home.test")
    for number in range(12):
        # The package itself sends one in three minutes.
        if number % 3 == 0:
            cache.clear()
        Client().post("/accounts/login/", {"login": "eva@home.test", "password": PASSPHRASE})

    assert len(mail.outbox) == 5
    for _ in range(12):
        cache.clear()
        Client().post("/accounts/login/", {"login": "eva@home.test", "password": PASSPHRASE})

    assert len(mail.outbox) == 10
