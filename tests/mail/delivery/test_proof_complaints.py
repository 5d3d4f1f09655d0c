"""What people complain about elsewhere when a reply has to be proven, a row for each, and what happens here.

docs/complaints.md is the same list for readers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from email.utils import format_datetime

import pytest
from django.utils import timezone
from pytest_django import Settings

from aliases.issuing import issue
from contacts.book import add_contact
from contacts.models import Contact
from mail.delivery.vouching import Client, voucher
from tests.rig.mail_doors import Hop
from tests.rig.nameserver import FAILS, Nameserver
from tests.rig.replying import BOB, DOMAIN, OWN, SPF, Answer, Signer, letter

pytestmark = pytest.mark.django_db(transaction=True)

Send = Callable[..., Answer]
NO_SPF = 'TXT "v=spf1 -all"'
ALL = (b"from", b"to", b"subject", b"date", b"message-id")


@dataclass(frozen=True)
class Row:
    """A reply, and how it is proven.

    `spf`: the record of the own domain. `signed`: the fields that its signature covers, of which there is
    none if it is empty. `front`: what the mail server in front has found out, if there is one.
    """

    code: int
    told: str = ""
    spf: str = NO_SPF
    signed: tuple[bytes, ...] = ()
    front: str = ""
    forged_front: str = ""
    login: str = ""
    sender: str = OWN
    author: str = OWN
    to: str = ""
    is_partial: bool = False
    days_ago: int = 0


ROWS = {
    "addy 331, 310: SPF alone is enough": Row(250, spf=SPF),
    "addy 157, 187: DKIM alone is enough": Row(250, signed=ALL),
    "addy 614: a domain without DMARC": Row(
        250, front="mx.example.com; dmarc=none header.from=home.test; spf=pass smtp.mailfrom=home.test"
    ),
    "addy 275: a login has no DMARC result": Row(250, login=OWN),
    "a login under somebody else's name": Row(550, "Nothing proves", login="mallory@evil.test"),
    "SimpleLogin 1556: the DNS does not answer": Row(451, spf=FAILS),
    "SimpleLogin 2637: From and the envelope prove nothing": Row(550, "Nothing proves"),
    "addy 17, 56, 152: a reply does not come back to its author": Row(550, "Nothing proves", spf=""),
    "another host sends in one's name": Row(550, "Nothing proves", spf='TXT "v=spf1 ip4:192.0.2.1 -all"'),
    "the envelope of another domain": Row(550, "Nothing proves", spf=SPF, sender="eve@evil.test"),
    "forged Authentication-Results": Row(
        550, "Nothing proves", forged_front="mx.example.com; dmarc=pass header.from=home.test"
    ),
    "forged Authentication-Results below the true ones": Row(
        550,
        "found that From is forged",
        front="mx.example.com; dmarc=fail header.from=home.test",
        forged_front="mx.example.com; spf=pass smtp.mailfrom=home.test",
    ),
    "a DKIM signature over a part of the body (l=)": Row(550, "Nothing proves", signed=ALL, is_partial=True),
    "a DKIM signature that leaves the subject open": Row(
        550, "does not cover", signed=(b"from", b"to", b"date", b"message-id")
    ),
    "a DKIM signature that leaves From open to a second one": Row(
        550, "exactly one", signed=ALL, author=f"{OWN}, eve@evil.test"
    ),
    "DKIM replay: a message to somebody else": Row(550, "does not cover", signed=ALL, to="friend@x.test"),
    "DKIM replay: a message of last week": Row(550, "does not cover", signed=ALL, days_ago=7),
    "an automatic answer without an envelope sender": Row(250, sender="", spf=SPF),
}


@pytest.mark.parametrize("complaint", ROWS)
def test_a_complaint(
    bob: Contact, dns: Nameserver, settings: Settings, send: Send, hop: Hop, complaint: str
) -> None:
    row = ROWS[complaint]
    dns.records[DOMAIN] = FAILS if row.spf == FAILS else [row.spf] if row.spf else []
    settings.MAIL_AUTHSERV_IDS = ["mx.example.com"] if row.front else []
    date = format_datetime(timezone.now() - timezone.timedelta(days=row.days_ago))
    content = letter(row.to or bob.reverse_address, From=row.author, Date=date)
    if row.signed:
        content = Signer(dns).sign(content, *row.signed, length=row.is_partial)
    for text in (row.forged_front, row.front):
        if text:
            content = f"Authentication-Results: {text}\r\n".encode() + content
    if row.login:
        name, text = voucher(bob.reverse_address, Client("192.0.2.7", row.login))
        content = f"{name}: {text}\r\n".encode() + content

    code, answer = send(bob.reverse_address, content, row.sender)

    assert (code, row.told in answer.decode()) == (row.code, True), answer
    is_sent = row.code == 250 and bool(row.sender)
    assert [recipient for _sender, recipient, _content in hop.sent] == [BOB] * is_sent


def test_a_signed_message_is_sent_once_however_often_it_is_handed_over(
    bob: Contact, dns: Nameserver, send: Send, hop: Hop
) -> None:
    """DKIM replay: the correspondent has the whole message, signature included."""
    dns.set(DOMAIN, NO_SPF)
    content = Signer(dns).sign(letter(bob.reverse_address), *ALL)

    answers = [
        send(bob.reverse_address, top + content, sender)[0]
        for top, sender in ((b"", OWN), (b"", OWN), (b"X-Other: 1\r\n", "eve@evil.test"))
    ]

    assert answers == [250, 250, 250]
    assert len(hop.sent) == 1


def test_a_message_to_one_correspondent_is_no_proof_for_another(
    bob: Contact, dns: Nameserver, send: Send, hop: Hop
) -> None:
    """DKIM replay to another reverse address of the same person."""
    dns.set(DOMAIN, NO_SPF)
    carol, _existed = add_contact(issue(owner=bob.alias.owner), "carol@x.test")
    content = Signer(dns).sign(letter(bob.reverse_address), *ALL)

    assert send(carol.reverse_address, content)[0] == 550
    assert hop.sent == []


def test_a_vacation_program_answers_a_correspondent_once_a_day(bob: Contact, send: Send, hop: Hop) -> None:
    """Two programs would answer each other without end."""
    codes = [
        send(
            bob.reverse_address,
            letter(bob.reverse_address, Message_ID=f"<{number}@x.test>", Auto_Submitted="auto-replied"),
        )[0]
        for number in range(2)
    ]

    assert (codes, len(hop.sent)) == ([250, 450], 1)
