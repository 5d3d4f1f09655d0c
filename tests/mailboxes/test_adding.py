"""Adding an own address, and the link in the mail that verifies it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import cast

import pytest
import time_machine
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from django.core import mail
from django.core.cache import cache
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from accounts.models import User
from accounts.verification_mails import BY_ONE
from api.addy.ids import public_id
from core.ratelimit import Counter
from tests.conftest import Api
from tests.rig.takeover import PASSWORD, THIEF, link_to, sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def old_session(alice: User) -> Iterator[Client]:
    """A browser of alice's in which the sign-in is an hour old."""
    browser = sign_in()
    with time_machine.travel(timezone.now() + timedelta(hours=1)):
        yield browser


def test_the_link_of_a_further_address_is_for_its_signed_in_owner(alice: User, mallory: User) -> None:
    owner, stranger = sign_in(), sign_in(mallory.email, "mallory-password-1")
    owner.post("/addresses/", {"email": "alice@home.test"})
    link = link_to("alice@home.test", "/accounts/confirm-email/")
    signed_out = Client()

    asked = signed_out.post(link)
    refused = [stranger.get(link).status_code, stranger.post(link).status_code]
    assert asked["Location"].startswith("/accounts/login/")
    assert refused == [404, 404]
    assert not EmailAddress.objects.get(email="alice@home.test").verified

    went_on = signed_out.post(asked["Location"], {"login": alice.email, "password": PASSWORD})
    assert went_on["Location"] == link
    assert "alice@home.test" in signed_out.get(link).content.decode()
    signed_out.post(link)
    assert EmailAddress.objects.get(email="alice@home.test").verified


def test_what_a_token_added_is_verified_after_a_fresh_sign_in_alone(
    alice: User, api: Api, old_session: Client
) -> None:
    api(alice).post("/api/mailboxes", {"email": THIEF}, format="json")
    link = link_to(THIEF, "/accounts/confirm-email/")

    answers = [old_session.get(link), old_session.post(link)]

    assert [answer["Location"].partition("?")[0] for answer in answers] == ["/accounts/reauthenticate/"] * 2
    assert not EmailAddress.objects.get(email=THIEF).verified


def test_what_a_token_added_never_signs_in(alice: User, api: Api) -> None:
    api(alice).post("/api/mailboxes", {"email": "alice@home.test"}, format="json")
    browser = sign_in()
    browser.post(link_to("alice@home.test", "/accounts/confirm-email/"))
    home = EmailAddress.objects.get(email="alice@home.test")

    page = browser.post(f"/addresses/{home.pk}/primary/", follow=True).content.decode()

    assert home.verified
    assert "remove it and add it again" in page
    assert "Make primary" not in page
    assert User.objects.get(pk=alice.pk).email == "alice@example.com"
    # Removed, and added with a fresh sign-in, it may. (The package mails an address once in 3 minutes.)
    cache.clear()
    browser.post(f"/addresses/{home.pk}/remove/")
    browser.post("/addresses/", {"email": "alice@home.test"})
    browser.post(link_to("alice@home.test", "/accounts/confirm-email/"))
    browser.post(f"/addresses/{EmailAddress.objects.get(email='alice@home.test').pk}/primary/")
    assert User.objects.get(pk=alice.pk).email == "alice@home.test"


def test_an_address_that_waited_for_its_link_is_not_verified_while_it_is_held(
    alice: User, mallory: User
) -> None:
    other = sign_in(mallory.email, "mallory-password-1")
    EmailAddress.objects.create(user=mallory, email="alice@home.test")
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    key = EmailConfirmationHMAC(EmailAddress.objects.get(user=mallory, email="alice@home.test")).key
    sign_in().post(f"/addresses/{home.pk}/remove/")

    other.post(f"/accounts/confirm-email/{key}/")

    assert not EmailAddress.objects.filter(email="alice@home.test", verified=True).exists()


VICTIM = "victim@elsewhere.test"
TOO_MANY = "as many links as it may be in a day"


def test_an_address_gets_so_many_links_a_day_from_one_account_and_from_all(
    alice: User, mallory: User, root: User, api: Api
) -> None:
    """However often they are asked for, in whichever way, and with whatever tags."""
    people = {user: api(user) for user in (mallory, alice, root)}

    def add(user: User, email: str) -> HttpResponse:
        cache.clear()
        answer = people[user].post("/api/mailboxes", {"email": email}, format="json")
        return cast(HttpResponse, answer)

    def again(user: User) -> HttpResponse:
        cache.clear()
        address = EmailAddress.objects.filter(user=user, primary=False).first()
        assert address
        body = {"recipient_id": public_id("recipient", address.pk)}
        return cast(HttpResponse, people[user].post("/api/v1/recipients/email/resend", body, format="json"))

    assert [add(mallory, VICTIM.replace("@", f"+{number}@")).status_code for number in range(5)] == [201] * 5
    assert [again(mallory).status_code for _ in range(5)] == [200] * 5
    sent = len(mail.outbox)
    refused = again(mallory)
    assert (refused.status_code, TOO_MANY in refused.json()["message"]) == (429, True)  # type: ignore[attr-defined]
    assert 0 < int(refused["Retry-After"]) <= 24 * 3600
    # What is refused adds no address, and does not count for others.
    many = [add(mallory, VICTIM) for _ in range(12)]
    assert {answer.status_code for answer in many} == {429}
    assert not EmailAddress.objects.filter(email=VICTIM).exists()
    assert [add(alice, VICTIM).status_code, *(again(alice).status_code for _ in range(9))] == [201] + [
        200
    ] * 9
    links = [each for each in mail.outbox if "elsewhere.test" in each.to[0]]
    assert len(links) == 20
    assert len(mail.outbox) > sent
    # One link for each further account: two of them could keep its real owner from verifying it.
    assert (add(root, VICTIM).status_code, again(root).status_code) == (201, 429)
    assert add(root, VICTIM.replace("@", "+x@")).status_code == 429
    links = [each for each in mail.outbox if "elsewhere.test" in each.to[0]]
    assert len(links) == 21

    with time_machine.travel(timezone.now() + timedelta(days=1, minutes=1)):
        assert again(root).status_code == 200


def test_the_page_says_that_there_were_too_many(alice: User) -> None:
    address = EmailAddress.objects.create(user=alice, email=VICTIM)
    browser = sign_in()
    Counter.objects.hit(*[(replace(BY_ONE, step=10), (alice.pk, VICTIM))])

    again = browser.post(f"/addresses/{address.pk}/verify/", follow=True).content.decode()
    added = browser.post("/addresses/", {"email": "victim+x@elsewhere.test"}, follow=True).content.decode()

    assert TOO_MANY in again
    assert TOO_MANY in added
    assert not EmailAddress.objects.filter(email="victim+x@elsewhere.test").exists()
    assert [each for each in mail.outbox if "elsewhere.test" in each.to[0]] == []


def test_what_was_not_sent_does_not_count(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    address = EmailAddress.objects.create(user=alice, email=VICTIM)
    browser = sign_in()
    for _ in range(12):
        # Within three minutes, the first one alone is sent.
        browser.post(f"/addresses/{address.pk}/verify/")
    cache.clear()

    browser.post(f"/addresses/{address.pk}/verify/")

    assert [each.to[0] for each in mail.outbox].count(VICTIM) == 2


@pytest.fixture
def _no_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise ConnectionRefusedError("mail.home.test")

    monkeypatch.setattr("django.core.mail.backends.locmem.EmailBackend.send_messages", refuse)


@pytest.mark.usefixtures("_no_mail")
def test_an_address_is_not_added_while_its_mail_cannot_be_sent(alice: User, client: Client, api: Api) -> None:
    client.post("/accounts/login/", {"login": alice.email, "password": "alice-password-1"})

    page = client.post("/addresses/", {"email": "new@home.test"}, follow=True)
    answer = api(alice).post("/api/mailboxes", {"email": "new@home.test"}, format="json")

    sentence = "The mail that verifies the address could not be sent. Try again later."
    assert sentence in page.content.decode()
    assert (answer.status_code, answer.json()) == (503, {"error": sentence})
    assert answer["Retry-After"] == "300"
    assert not EmailAddress.objects.filter(email="new@home.test").exists()


@pytest.mark.usefixtures("_no_mail")
def test_an_address_stays_while_its_mail_cannot_be_sent_again(alice: User, client: Client) -> None:
    new = EmailAddress.objects.create(user=alice, email="new@home.test")
    client.force_login(alice)

    page = client.post(f"/addresses/{new.pk}/verify/", follow=True)

    assert "could not be sent" in page.content.decode()
    assert EmailAddress.objects.filter(pk=new.pk).exists()
