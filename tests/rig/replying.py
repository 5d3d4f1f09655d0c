"""What a person's mail program and provider send to a reverse address, for tests."""

import base64
import smtplib
from email.utils import format_datetime
from typing import Any

import dkim
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from django.utils import timezone

from accounts.models import User
from aliases.models import Alias, AliasPreferences
from contacts.models import Contact
from tests.rig.nameserver import Nameserver

OWN, DOMAIN = "alice.secret@home.test", "home.test"
BOB = "bob@sender.test"
SPF = 'TXT "v=spf1 ip4:127.0.0.1 -all"'
Answer = tuple[int, bytes]
# The same in all letters: with the time of each, two of the same would differ if a second ends between them.
WRITTEN = format_datetime(timezone.now())


def deliver(
    place: tuple[str, int], kind: type[smtplib.SMTP], recipient: str, content: bytes, sender: str
) -> Answer:
    with kind(*place, local_hostname="mx.home.test", timeout=20) as client:
        client.ehlo()
        client.mail(sender)
        code, answer = client.rcpt(recipient)
        return client.data(content) if code == 250 else (code, answer)


class Lmtp(smtplib.LMTP):
    def __init__(self, host: str, port: int, **more: Any) -> None:
        more.pop("timeout")
        super().__init__(host, port, **more)


def letter(to: str, *, body: str = "Hello\r\n", **fields: str) -> bytes:
    given = {
        "From": f"Alice <{OWN}>",
        "To": to,
        "Subject": "Hi",
        "Date": WRITTEN,
        "Message-ID": "<1@laptop.home.test>",
    }
    given |= {name.replace("_", "-"): value for name, value in fields.items()}
    return "".join(f"{name}: {value}\r\n" for name, value in given.items()).encode() + f"\r\n{body}".encode()


def figures(contact: Contact) -> tuple[int, int]:
    contact.refresh_from_db()
    return contact.replies, Alias.objects.get(pk=contact.alias_id).replies


def preferences(user: User, **changes: Any) -> None:
    AliasPreferences.objects.update_or_create(user=user, defaults=changes)


class Signer:
    """The owner's provider, which signs."""

    def __init__(self, dns: Nameserver, domain: str = DOMAIN) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        text = f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"
        dns.set(f"s1._domainkey.{domain}", f'TXT "{text[:200]}" "{text[200:]}"')
        self.domain = domain

    def sign(self, content: bytes, *names: bytes, length: bool = False) -> bytes:
        covered = list(names) or [b"from", b"to", b"cc", b"subject", b"date", b"message-id"]
        field: bytes = dkim.sign(
            content, b"s1", self.domain.encode(), self.private, include_headers=covered, length=length
        )
        return field + content
