"""The site's own mail, as it comes out of Django's SMTP backend: signed if it is from a domain of ours."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import dkim
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope
from django.core.mail import EmailMessage
from pytest_django import Settings

from domains.models import DkimKey, Domain
from tests.rig.dkim_keys import published_keys
from tests.rig.ports import free_port

pytestmark = pytest.mark.django_db


class Mailbox:
    def __init__(self) -> None:
        self.received: list[bytes] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:  # noqa: N802
        self.received.append(bytes(envelope.original_content or b""))
        return "250 OK"


@pytest.fixture
def mailbox(settings: Settings) -> Iterator[Mailbox]:
    box = Mailbox()
    port = free_port()
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    settings.EMAIL_BACKEND = "mail.site_mail.SigningBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", port
    yield box
    controller.stop()


TEXT = "Zoë,\n\n  here is  your link \t \n.\n.\n\n"


@pytest.mark.parametrize("domain", ["example.com", "bücher.example"])
def test_mail_from_a_domain_of_ours_is_signed_as_it_arrives(db: None, mailbox: Mailbox, domain: str) -> None:
    published_keys(Domain.objects.create(name=domain))
    records = {f"{key.record_name}.".encode(): key.record_text.encode() for key in DkimKey.objects.all()}

    for text in (TEXT, "x" * 2000, "a"):
        EmailMessage("Grüße", text, f"Anonmail <noreply@{domain}>", ["zoe@home.test"]).send()

    assert len(mailbox.received) == 3
    for received in mailbox.received:
        for number in range(2):
            verifier = dkim.DKIM(received)
            assert verifier.verify(idx=number, dnsfunc=lambda name, timeout: records[name])


def test_other_mail_is_sent_without_a_signature(example_com: Domain, mailbox: Mailbox) -> None:
    published_keys(example_com)

    EmailMessage("Hello", "Text", "noreply@mail.example.com", ["zoe@home.test"]).send()

    (received,) = mailbox.received
    assert b"DKIM-Signature" not in received
    assert b"\r\nSubject: Hello\r\n" in received


def test_the_site_sends_through_this_backend_if_it_sends_by_smtp() -> None:
    environment = {**os.environ, "EMAIL_URL": "smtp+ssl://u:p@127.0.0.1:465"}
    code = (
        "import anonmail_site.settings as s; from django.core.mail import get_connection\n"
        "import django; django.setup(); backend = get_connection()\n"
        "print(s.EMAIL_BACKEND, *[kind.__module__ for kind in backend.connection_class.__mro__[:3]])"
    )
    environment["DJANGO_SETTINGS_MODULE"] = "anonmail_site.settings"

    said = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=300
    )

    assert said.stdout.split() == [
        "mail.site_mail.SigningBackend",
        "mail.site_mail",
        "mail.site_mail",
        "smtplib",
    ]
