"""The field that carries the client, and whom it has signed in as, from Postfix's question to the message."""

from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone
from pytest_django import Settings

from mail.delivery.vouching import FIELD, Client, vouched_client, voucher

RECIPIENT = "r." + "a" * 26 + "@example.com"
OTHER = "r." + "b" * 26 + "@example.com"
BOB = Client("192.0.2.7", "bob@home.test")


def field(client: Client = BOB, recipient: str = RECIPIENT) -> tuple[str, str]:
    """The field as it comes with the message."""
    name, text = voucher(recipient, client)
    assert name == FIELD
    return name.lower(), text


@pytest.mark.parametrize(
    "client",
    [
        BOB,
        Client("2001:db8::1", "bob"),
        Client("192.0.2.7"),
        Client(login="bob@home.test"),
        Client(),
        Client("192.0.2.7", "bob smith % \r\n Zoë-"),
        Client("192.0.2.7", "x" * 300),
    ],
)
def test_the_client_arrives_as_it_was(client: Client) -> None:
    name, text = field(client)

    assert text.isascii()
    assert text.isprintable()
    assert vouched_client([(name, text)], RECIPIENT) == client


def test_a_login_that_reads_like_none_is_none() -> None:
    """`-` stands for none."""
    assert vouched_client([field(Client("192.0.2.7", "-"))], RECIPIENT) == Client("192.0.2.7")


def test_any_form_of_the_recipient_counts() -> None:
    assert vouched_client([field()], RECIPIENT.upper()) == BOB
    assert vouched_client([field(recipient=RECIPIENT.upper())], RECIPIENT) == BOB


def test_it_is_for_one_recipient() -> None:
    assert vouched_client([field()], OTHER) == Client()


def changed(old: str, new: str) -> tuple[str, str]:
    name, text = field()
    assert old in text
    return name, text.replace(old, new)


FORGED = {
    "no field": [],
    "another field": [("x-client", field()[1])],
    "another login": [changed("bob@", "eve@")],
    "another client": [changed("192.0.2.7", "192.0.2.8")],
    "another day": [changed(str(timezone.now().toordinal()), str(timezone.now().toordinal() - 1))],
    "no signature": [(FIELD.lower(), field()[1].rpartition(" ")[0])],
    "a signature of nothing": [(FIELD.lower(), field()[1].rpartition(" ")[0] + " " + "0" * 64)],
    "something before it": [(FIELD.lower(), "x " + field()[1])],
    "something behind it": [(FIELD.lower(), field()[1] + " x")],
    "a number without end": [(FIELD.lower(), "9" * 10_000 + field()[1])],
    "empty": [(FIELD.lower(), "")],
}


@pytest.mark.parametrize("case", FORGED)
def test_nobody_else_can_write_one(case: str) -> None:
    assert vouched_client(FORGED[case], RECIPIENT) == Client()


def test_a_forged_one_on_top_does_not_hide_the_true_one() -> None:
    assert vouched_client([changed("bob@", "eve@"), field()], RECIPIENT) == BOB


@pytest.mark.parametrize(("days", "counts"), [(0, True), (5, True), (6, True), (7, False), (-1, False)])
def test_it_lasts_as_long_as_a_message_waits(days: int, counts: bool) -> None:
    made = field()

    with time_machine.travel(timezone.now() + timedelta(days=days), tick=False):
        assert vouched_client([made], RECIPIENT) == (BOB if counts else Client())


def test_another_secret_key_makes_another_signature(settings: Settings) -> None:
    made = field()
    settings.SECRET_KEY = "another-" + "x" * 60

    assert vouched_client([made], RECIPIENT) == Client()
