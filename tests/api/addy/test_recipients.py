"""Recipients that are added, verified, allowed to reply and removed with addy.io's calls."""

from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.conf import settings as site
from django.core import mail
from pytest_django import Settings

from accounts.models import AddressChange, DestinationOnly, User
from aliases.issuing import issue
from tests.api.addy.calls import NOBODY, recipient_id
from tests.api.calls import V1
from tests.conftest import Api

pytestmark = pytest.mark.django_db

RECIPIENTS = f"{V1}/recipients"
REPLIES = f"Who may reply is set for all your aliases, on the page Account: {site.SITE_URL}/account/replies/"


def add(client: Any, email: object) -> Any:
    return client.post(RECIPIENTS, {"email": email}, format="json")


def test_a_recipient_is_added_unverified_and_gets_the_link(alice: User, api: Api) -> None:
    client = api(alice)

    added = add(client, "Alice@Home.test")

    address = EmailAddress.objects.get(email="alice@home.test")
    assert added.status_code == 201
    told = added.json()["data"]
    assert told["id"] == recipient_id(address)
    assert (told["email"], told["email_verified_at"], told["aliases_count"]) == ("alice@home.test", None, 0)
    assert told["can_reply_send"] is False
    assert mail.outbox[0].to == ["alice@home.test"]
    assert client.get(f"{RECIPIENTS}/{told['id']}").json()["data"]["email"] == "alice@home.test"
    # A token cannot make a new way to sign in, and its owner can see what it did.
    assert DestinationOnly.objects.filter(address=address).exists()
    assert AddressChange.objects.get(address="alice@home.test").by_api


@pytest.mark.parametrize(
    "email", ["", None, 5, ["a@b.test"], "no address", "a@b", "a b@home.test", "a\x00@home.test", "a" * 400]
)
def test_what_is_no_address_is_no_recipient(alice: User, api: Api, email: object) -> None:
    answer = add(api(alice), email)

    assert answer.status_code == 422
    assert set(answer.json()["errors"]) == {"email"}
    assert answer.json()["message"] == answer.json()["errors"]["email"][0]
    assert EmailAddress.objects.filter(user=alice).count() == 1
    assert mail.outbox == []


def test_an_alias_is_no_recipient_and_tries_are_limited(alice: User, api: Api, settings: Settings) -> None:
    settings.ADDRESSES_PER_HOUR = 2
    alias = issue(owner=alice)
    client = api(alice)

    assert [add(client, alias.address).status_code for _ in range(3)] == [422, 422, 429]


def test_the_link_is_sent_again_but_not_at_once_and_not_to_a_verified_address(alice: User, api: Api) -> None:
    client = api(alice)
    primary = EmailAddress.objects.get(user=alice)
    new = EmailAddress.objects.create(user=alice, email="alice@home.test")

    def resend(key: object) -> Any:
        return client.post(f"{RECIPIENTS}/email/resend", {"recipient_id": key}, format="json")

    sent, again = resend(recipient_id(new)), resend(recipient_id(new))

    assert (sent.status_code, sent.json()["data"]["email"]) == (200, "alice@home.test")
    assert again.status_code == 429
    assert int(again["Retry-After"]) > 0
    assert [message.to for message in mail.outbox] == [["alice@home.test"]]
    verified = resend(recipient_id(primary))
    assert (verified.status_code, verified.json()) == (404, {"message": "This address is verified already."})
    assert resend("").status_code == 422


def test_a_removed_recipients_aliases_go_to_the_primary_one(
    alice: User, api: Api, home: EmailAddress
) -> None:
    alone = issue(owner=alice, destinations=[home.email])
    both = issue(owner=alice, destinations=[home.email, alice.email])

    answer = api(alice).delete(f"{RECIPIENTS}/{recipient_id(home)}")

    assert (answer.status_code, answer.content) == (204, b"")
    assert not EmailAddress.objects.filter(pk=home.pk).exists()
    for alias in (alone, both):
        assert [address.email for address in alias.destinations.all()] == [alice.email]


def test_the_primary_recipient_stays(alice: User, api: Api) -> None:
    primary = EmailAddress.objects.get(user=alice)

    answer = api(alice).delete(f"{RECIPIENTS}/{recipient_id(primary)}")

    assert answer.status_code == 403
    assert answer.json() == {
        "message": "Your primary address cannot be removed. Make another one primary first."
    }
    assert EmailAddress.objects.filter(pk=primary.pk).exists()


def test_whatever_is_verified_may_reply_and_the_page_says_who_else(
    alice: User, api: Api, home: EmailAddress
) -> None:
    client = api(alice)
    new = EmailAddress.objects.create(user=alice, email="new@home.test")

    def allow(address: EmailAddress) -> Any:
        return client.post(f"{V1}/allowed-recipients", {"id": recipient_id(address)}, format="json")

    assert allow(home).json()["data"]["can_reply_send"] is True
    assert allow(new).status_code == 422
    assert allow(new).json()["message"] == "Verify the address first: open the link in the mail."
    forbidden = client.delete(f"{V1}/allowed-recipients/{recipient_id(home)}")
    assert (forbidden.status_code, forbidden.json()) == (403, {"message": REPLIES})
    assert client.get(f"{RECIPIENTS}/{recipient_id(home)}").json()["data"]["can_reply_send"] is True


@pytest.mark.parametrize("word", ["remove-pgp-keys", "remove-pgp-signatures"])
def test_what_is_in_forwarded_mail_is_left_there(
    alice: User, api: Api, home: EmailAddress, word: str
) -> None:
    client = api(alice)

    on = client.post(f"{V1}/{word}-recipients", {"id": recipient_id(home)}, format="json")
    off = client.delete(f"{V1}/{word}-recipients/{recipient_id(home)}")

    assert on.status_code == 403
    assert on.json() == {"message": "This server forwards OpenPGP keys and signatures as they came."}
    assert off.status_code == 204


def test_a_strangers_and_an_unknown_recipient_are_the_same_nothing(alice: User, root: User, api: Api) -> None:
    client = api(alice)
    theirs = EmailAddress.objects.get(user=root)
    calls = [
        ("DELETE", f"{RECIPIENTS}/%s", None),
        ("POST", f"{RECIPIENTS}/email/resend", "recipient_id"),
        ("POST", f"{V1}/allowed-recipients", "id"),
        ("DELETE", f"{V1}/allowed-recipients/%s", None),
        *(("POST", f"{V1}/remove-pgp-{what}-recipients", "id") for what in ("keys", "signatures")),
        *(("DELETE", f"{V1}/remove-pgp-{what}-recipients/%s", None) for what in ("keys", "signatures")),
    ]

    answers = [
        client.post(path, {field: key}, format="json") if field else client.generic(method, path % key)
        for method, path, field in calls
        for key in (recipient_id(theirs), NOBODY)
    ]

    assert {answer.status_code for answer in answers} == {404}
    assert {answer.content for answer in answers} == {b'{"message":"There is no such recipient."}'}
    assert EmailAddress.objects.filter(pk=theirs.pk).exists()
    assert mail.outbox == []
