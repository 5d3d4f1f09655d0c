"""Wrong passwords: guessing leads nowhere, and a stranger shuts nobody out."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import time_machine
from django.db import connection
from django.test import Client, RequestFactory
from django.utils import timezone

from accounts import password_attempts
from accounts.models import User
from core.ratelimit import Counter

pytestmark = pytest.mark.django_db

PASSWORD = "alice-password-1"
OWNER, STRANGER = "198.51.100.7", "203.0.113.9"


def on_the_page(email: str, password: str, address: str) -> bool:
    client = Client(REMOTE_ADDR=address)
    answer = client.post("/accounts/login/", {"login": email, "password": password})
    return answer.status_code == 302


def over_the_api(email: str, password: str, address: str) -> bool:
    answer = Client(REMOTE_ADDR=address).post(
        "/api/auth/login",
        {"email": email, "password": password, "device": "phone"},
        content_type="application/json",
    )
    return answer.status_code == 200


def asked_again(email: str, password: str, address: str) -> bool:
    """On the page that asks for the password once more."""
    client = Client(REMOTE_ADDR=address)
    client.force_login(User.objects.get(email=email))
    answer = client.post("/accounts/reauthenticate/", {"password": password})
    return answer.status_code == 302


DOORS = [on_the_page, over_the_api, asked_again]


def counts() -> dict[str, int]:
    return dict(Counter.objects.filter(scope__startswith="signin").values_list("scope", "count"))


@pytest.mark.parametrize("door", DOORS)
def test_wrong_passwords_of_a_stranger_do_not_shut_out_the_owner(alice: User, door: object) -> None:
    for _number in range(8):
        assert not on_the_page(alice.email, "wrong", STRANGER)
        assert not over_the_api(alice.email, "wrong", STRANGER)

    assert door(alice.email, PASSWORD, OWNER)  # type: ignore[operator]


@pytest.mark.parametrize("door", DOORS)
def test_the_strangers_own_tries_end_whatever_comes_next(alice: User, door: object) -> None:
    for _number in range(5):
        assert not on_the_page(alice.email, "wrong", STRANGER)

    assert not door(alice.email, PASSWORD, STRANGER)  # type: ignore[operator]
    with time_machine.travel(timezone.now() + timedelta(minutes=6)):
        assert on_the_page(alice.email, PASSWORD, STRANGER)


def test_an_ipv6_network_is_one_client_and_ipv4_inside_ipv6_is_many(alice: User) -> None:
    for number in range(5):
        on_the_page(alice.email, "wrong", f"2001:db8:1:2::{number + 1}")
        on_the_page(alice.email, "wrong", f"::ffff:{STRANGER}")

    assert not on_the_page(alice.email, PASSWORD, "2001:db8:1:2:aaaa::1")
    assert not on_the_page(alice.email, PASSWORD, STRANGER)
    assert on_the_page(alice.email, PASSWORD, f"::ffff:{OWNER}")


def test_signing_in_from_everywhere_else_goes_on_where_ipv4_comes_mapped(alice: User) -> None:
    """The package's own limits count an IPv6 /64, and all of `::ffff:0:0/96` lies in one."""
    for number in range(31):
        on_the_page("nobody@example.com", "wrong", f"::ffff:203.0.113.{number + 1}")

    assert on_the_page(alice.email, PASSWORD, f"::ffff:{OWNER}")


def test_a_right_password_uses_up_nothing(alice: User) -> None:
    assert all(on_the_page(alice.email, PASSWORD, OWNER) for _number in range(12))

    assert set(counts().values()) == {0}


def test_the_form_of_the_address_gives_no_more_tries(alice: User) -> None:
    for form in [
        "alice@example.com",
        "ALICE@example.com",
        "alice@EXAMPLE.com",
        " alice@example.com",
        "Alice@example.com",
    ]:
        on_the_page(form, "wrong", STRANGER)

    assert not over_the_api("aLiCe@example.com", PASSWORD, STRANGER)


def test_many_clients_make_an_account_slow_and_never_shut_it(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past the limit each neighbourhood has one try an hour: the owner's first one is looked at."""
    monkeypatch.setattr(
        password_attempts,
        "OF_ACCOUNT",
        password_attempts.Limit("signin-4-account", 6, password_attempts.HOUR),
    )
    for number in range(6):
        on_the_page(alice.email, "wrong", f"192.0.{number}.1")

    first = on_the_page(alice.email, "wrong", f"{STRANGER}")
    second = on_the_page(alice.email, PASSWORD, f"{STRANGER}")
    neighbour = on_the_page(alice.email, PASSWORD, "203.0.113.200")

    assert (first, second, neighbour) == (False, False, False)
    assert on_the_page(alice.email, PASSWORD, OWNER)
    assert on_the_page(alice.email, PASSWORD, OWNER), "a right password takes no try"


def test_one_client_alone_does_not_make_an_account_slow(alice: User) -> None:
    for _number in range(60):
        on_the_page(alice.email, "wrong", STRANGER)

    assert counts()["signin-4-account"] == counts()["signin-3-both-day"] == password_attempts.OF_BOTH.amount


def test_a_client_over_its_limit_writes_no_more_rows(alice: User) -> None:
    for number in range(30):
        over_the_api(f"guess{number}@example.com", "wrong", STRANGER)

    assert Counter.objects.filter(scope="signin-2-both").count() == password_attempts.OF_CLIENT.amount


def test_an_address_without_account_is_counted_as_one_with(alice: User) -> None:
    """Or the limit itself would tell who has an account."""
    answers = []
    for email in (alice.email, "nobody@example.com"):
        client = Client(REMOTE_ADDR=f"198.51.100.{len(email)}")
        pages = [client.post("/accounts/login/", {"login": email, "password": "wrong"}) for _ in range(7)]
        answers.append([page.content.decode().count("Too many attempts") for page in pages])

    assert answers[0] == answers[1]
    assert sum(answers[0]) == 2


def test_a_password_chosen_through_the_mail_clears_the_clients_own_tries(alice: User) -> None:
    from accounts.password_links import password_link

    for _number in range(6):
        assert not over_the_api(alice.email, "wrong", OWNER)
    client = Client(REMOTE_ADDR=OWNER)
    form = client.get(password_link(alice).removeprefix("http://localhost:8000"))["Location"]
    client.post(form, {"password1": "another-passphrase", "password2": "another-passphrase"})

    assert over_the_api(alice.email, "another-passphrase", OWNER)


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_many_tries_at_once_are_counted_exactly_and_lock_each_other_out_of_nothing(alice: User) -> None:
    def tries_of(number: int) -> None:
        try:
            for round_ in range(20):
                request = RequestFactory().get("/", REMOTE_ADDR=f"198.51.100.{number % 3}")
                attempt = password_attempts.Try(request, alice.email)
                if attempt.begin() and round_ % 2:
                    attempt.give_back()
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(tries_of, range(8)))

    assert counts()["signin-4-account"] <= 3 * password_attempts.OF_BOTH.amount
