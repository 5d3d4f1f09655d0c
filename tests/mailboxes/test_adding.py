"""Adding an own address, and the link in the mail that verifies it."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
import time_machine
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from tests.rig.takeover import PASSWORD, THIEF, link_to, sign_in

pytestmark = pytest.mark.django_db

Api = Callable[[User], APIClient]


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


@pytest.fixture
def _no_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise ConnectionRefusedError("mail.home.test")

    monkeypatch.setattr("django.core.mail.backends.locmem.EmailBackend.send_messages", refuse)


@pytest.mark.usefixtures("_no_mail")
def test_an_address_is_not_added_while_its_mail_cannot_be_sent(
    alice: User, client: Client, api: Callable[[User], APIClient]
) -> None:
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
