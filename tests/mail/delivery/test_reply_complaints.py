"""What people complain about elsewhere, a row for each, and what happens here: it is sent, or it is refused.

docs/complaints.md is the same list for readers.
The rows name the complaint; `shown` and `hidden` are what a correspondent sees of the message, or never does.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.core import mail

from accounts.models import User
from contacts.models import Contact
from domains.models import Domain
from tests.rig.correspondents import contacts_for
from tests.rig.dkim_keys import published_keys
from tests.rig.dkim_verifiers import verified_by_dkimpy
from tests.rig.mail_doors import Hop
from tests.rig.nameserver import Nameserver
from tests.rig.replying import BOB, OWN, letter, preferences

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass(frozen=True)
class Row:
    """A message of the owner's: its fields and body, the answer, and what reaches the correspondent."""

    fields: dict[str, str] = field(default_factory=dict)
    body: str = "Hello\r\n"
    told: str = ""  # the refusal; "": it is sent
    shown: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    preferences: dict[str, bool] = field(default_factory=dict)


def mixed(*parts: str, kind: str = "mixed", more: str = "") -> dict[str, Any]:
    body = "".join(f"--x\r\n{part}\r\n" for part in parts) + "--x--\r\n"
    kind = f'multipart/{kind}; boundary="x"{more}'
    return {"fields": {"MIME_Version": "1.0", "Content_Type": kind}, "body": body}


def part(kind: str, octets: str | bytes) -> str:
    raw = octets.encode() if isinstance(octets, str) else octets
    coded = base64.encodebytes(raw).decode().replace("\n", "\r\n")
    return f"Content-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\n\r\n{coded}"


TEXT = "Content-Type: text/plain\r\n\r\nHello\r\n"
QUOTED = f"On Monday, {OWN} wrote:\r\n> Hi\r\n"
ARMOUR = "-----BEGIN PGP {0}-----\r\n\r\n{1}\r\n-----END PGP {0}-----\r\n"
KEY = ARMOUR.format("PUBLIC KEY BLOCK", base64.b64encode(OWN.encode()).decode())
SIGNED = "-----BEGIN PGP SIGNED MESSAGE-----\r\n\r\nHi\r\n" + ARMOUR.format("SIGNATURE", "eHh4")
INVITATION = "BEGIN:VCALENDAR\r\nMETHOD:REPLY\r\nATTENDEE:mailto:{}\r\n"
RECEIPT = f"Content-Type: message/disposition-notification\r\n\r\nFinal-Recipient: rfc822;{OWN}\r\n"
ATTACHED = "Content-Type: message/rfc822\r\n\r\n{}\r\n\r\nHi\r\n"

ROWS = {
    # The own address leaks
    "SimpleLogin 2608: References name the own host": Row(
        {"References": "<0@laptop.home.test>", "In_Reply_To": "<0@laptop.home.test>"},
        shown=("In-Reply-To: <m.",),
        hidden=("laptop",),
    ),
    "SimpleLogin 81, 418: quoted text is the writer's": Row(body=QUOTED, shown=(QUOTED,)),
    "SimpleLogin 1642, addy 173, Relay 1377: replace it if wanted": Row(
        body=QUOTED, hidden=(OWN,), preferences={"cleans_text": True}
    ),
    "SimpleLogin 2507: prose is not mangled": Row(
        body=f"x{OWN} and {OWN}.evil.test\r\n",
        shown=(f"x{OWN} and {OWN}.evil.test",),
        preferences={"cleans_text": True},
    ),
    "SimpleLogin 2439: an OpenPGP key": Row(body=KEY, told="key names"),
    "SimpleLogin 2439: an OpenPGP signature": Row(body=SIGNED, told="signature can show"),
    "SimpleLogin 2439: send it anyway": Row(
        body=SIGNED, shown=("BEGIN PGP SIGNATURE",), preferences={"allows_revealing": True}
    ),
    "Relay 1267: another recipient in Cc": Row({"Cc": "carol@x.test"}, told="not a reverse address"),
    "Relay 1267: another one that is allowed": Row(
        {"Cc": "carol@x.test"}, shown=("Cc: carol@x.test",), preferences={"replies_to_others": True}
    ),
    "Relay 1267: Bcc": Row({"Bcc": "carol@x.test"}, hidden=("carol",)),
    "SimpleLogin 2220: a copy to oneself": Row({"Cc": OWN}, hidden=("Cc:",)),
    "addy 716: a calendar answer": Row(
        {"Content_Type": "text/calendar"}, INVITATION.format(OWN), told="calendar answer"
    ),
    "addy 716: a calendar answer of somebody else": Row(
        {"Content_Type": "text/calendar"}, INVITATION.format(BOB), shown=("METHOD:REPLY",)
    ),
    # Authentication
    "addy 17, 56, 152: a second From": Row({"From": f"{OWN}, eve@evil.test"}, told="exactly one"),
    "addy 160, 739: somebody else's From": Row({"From": "eve@evil.test"}, told="Nothing proves"),
    "a tag makes another address": Row({"From": OWN.replace("@", "+tag@")}, told="not an address of yours"),
    "the own address as a name": Row({"From": f'"{OWN}" <eve@evil.test>'}, told="Nothing proves"),
    "a From without an address": Row({"From": "Alice"}, told="From"),
    "a forged Authentication-Results": Row(
        {"From": "eve@evil.test", "Authentication_Results": "mx.example.com; dkim=pass header.d=evil.test"},
        told="Nothing proves",
    ),
    "a forged login": Row(
        {"From": "eve@evil.test", "X_Anonmail_Client": f"1 - {OWN} {'0' * 64}"},
        told="Nothing proves",
    ),
    "SimpleLogin 2637: Sender is no proof": Row(
        {"From": "eve@evil.test", "Sender": OWN}, told="Nothing proves"
    ),
    # Octets
    "SimpleLogin 2758: quoted-printable stays": Row(
        {"Content_Transfer_Encoding": "quoted-printable"},
        "Gr=C3=BC=C3=9Fe =\r\nfolded\r\n",
        shown=("Content-Transfer-Encoding: quoted-printable", "Gr=C3=BC=C3=9Fe =\r\nfolded"),
    ),
    "SimpleLogin 2213: a charset stays": Row(
        {"Content_Type": "text/plain; charset=iso-8859-15"}, shown=("charset=iso-8859-15",)
    ),
    "SimpleLogin 754, addy 210: an inline picture stays": Row(
        **mixed(TEXT, "Content-Type: image/png\r\nContent-ID: <a>\r\n\r\nPNG\r\n", kind="related"),
        shown=("Content-ID: <a>\r\n\r\nPNG",),
    ),
    "SimpleLogin 125, 492, addy 412: all parts stay": Row(
        **mixed(TEXT, "Content-Type: text/html\r\n\r\n<b>Hi\r\n", kind="alternative"), shown=("<b>Hi",)
    ),
    "addy 480: an invitation of Outlook's stays": Row(
        **mixed(TEXT, "Content-Type: text/calendar; method=REQUEST\r\n\r\nBEGIN:VCALENDAR\r\n"),
        shown=("method=REQUEST",),
    ),
    "addy 714, 860: long lines stay": Row(body="x" * 5000 + "\r\n", shown=("x" * 5000,)),
    "a dot alone stays": Row(body="one\r\n.\r\n..\r\ntwo\r\n", shown=("one\r\n.\r\n..\r\ntwo",)),
    # Threads and recipients
    "Relay 1988: In-Reply-To stays": Row(
        {"In_Reply_To": "<a@sender.test>"}, shown=("In-Reply-To: <a@sender.test>",)
    ),
    "Relay 1988: References stay": Row(
        {"References": "<a@sender.test> <b@sender.test>"}, shown=("<a@sender.test>\r\n <b@sender.test>",)
    ),
    "addy 166, SimpleLogin 798: the reverse address in Bcc": Row(
        {"To": OWN}, shown=("To: undisclosed-recipients:;",)
    ),
    "another owner's reverse address in Cc": Row(
        {"Cc": "r." + "z" * 26 + "@example.com"}, told="reverse address of another alias"
    ),
    "an address that cannot be read in Cc": Row({"Cc": "carol"}, told="An address in Cc cannot be read"),
    # Names
    "SimpleLogin 2621: the contact's own name": Row({"Subject": "Hi"}, shown=('"Bob" <bob@sender.test>',)),
    # Never silence
    "Relay 1401, 1702, 3523: a refusal has a sentence": Row(
        {"Subject": f"Me, {OWN}"}, told="Subject names your own address. Nothing was sent"
    ),
    # Not reported there
    "a read receipt": Row(**mixed(TEXT, RECEIPT, kind="report"), told="read receipt"),
    "a wish for a receipt": Row(
        {"Disposition_Notification_To": OWN, "Return_Receipt_To": OWN},
        hidden=("Disposition", "Return-Receipt"),
    ),
    "S/MIME": Row(
        **mixed(TEXT, part("application/pkcs7-signature", OWN), kind="signed"), told="signature can show"
    ),
    "TNEF": Row(**mixed(TEXT, part("application/ms-tnef", b"x")), told="winmail.dat"),
    "a vCard": Row(**mixed(TEXT, part("text/vcard", f"EMAIL:{OWN}")), told="business card"),
    "an attached message with Delivered-To": Row(
        **mixed(TEXT, ATTACHED.format(f"Delivered-To: {OWN}")), told="attached message"
    ),
    "an attached message with Received": Row(
        **mixed(TEXT, ATTACHED.format("Received: from a by b")), told="attached message"
    ),
    "Autocrypt": Row({"Autocrypt": f"addr={OWN}; keydata=AAAA"}, hidden=("Autocrypt", OWN)),
    "the time zone": Row({"Date": "Thu, 26 Nov 2026 12:00:00 +0545"}, shown=("+0000",), hidden=("+0545",)),
    "Received and the computer's address": Row(
        {"Received": "from [192.0.2.7] by mx.home.test", "X_Originating_IP": "192.0.2.7"},
        hidden=("192.0.2.7", "Received", "home.test"),
    ),
    "the mail program": Row(
        {"User_Agent": "Thunderbird", "X_Mailer": "Mutt"}, hidden=("Thunderbird", "Mutt")
    ),
    "two From fields": Row({"From": f"{OWN}\r\nFrom: eve@evil.test"}, told="more than one From"),
    "two To fields": Row({"Cc": "x@y.test\r\nTo: z@y.test"}, told="more than one To"),
    "a bare CR in the header": Row({"Subject": "Hi\rBcc: x@y.test"}, told="line ends"),
    "Memory Hole: From in a part's header": Row(
        **mixed(f'Content-Type: text/plain; protected-headers="v1"\r\nFrom: {OWN}\r\n\r\nHi\r\n'),
        told="A part of the message",
    ),
    "a vacation answer says so": Row(
        {"Auto_Submitted": "auto-replied", "Precedence": "bulk"},
        shown=("Auto-Submitted: auto-replied", "Precedence: bulk"),
    ),
    "Reply-To and Sender": Row({"Reply_To": OWN, "Sender": OWN}, hidden=("Reply-To", "Sender")),
}


@pytest.mark.parametrize("complaint", ROWS)
def test_a_complaint(
    alice: User, bob: Contact, send: Callable[..., tuple[int, bytes]], hop: Hop, complaint: str
) -> None:
    row = ROWS[complaint]
    preferences(alice, **row.preferences)
    content = letter(bob.reverse_address, body=row.body, **row.fields)

    code, answer = send(bob.reverse_address, content)

    assert (code, row.told in answer.decode()) == (550 if row.told else 250, True)
    assert len(hop.sent) == (not row.told)
    for _sender, recipient, seen in hop.sent:
        assert recipient == BOB
        for text in row.shown:
            assert text.encode() in seen
        for text in (*row.hidden, "alice.secret@home.test>"):
            assert text.encode() not in seen


def test_there_is_a_row_for_each_complaint() -> None:
    assert len(ROWS) >= 45


def test_simplelogin_1556_the_dns_is_away(
    bob: Contact, dns: Nameserver, send: Callable[..., tuple[int, bytes]], hop: Hop
) -> None:
    dns.records["home.test"] = "fails"

    assert send(bob.reverse_address, letter(bob.reverse_address))[0] == 451
    assert (hop.sent, mail.outbox) == ([], [])


def test_relay_600_reply_all_maps_every_correspondent(
    bob: Contact, send: Callable[..., tuple[int, bytes]], hop: Hop
) -> None:
    """Relay 600: an answer to all went to the author alone."""
    contacts_for(bob.alias_id, [("carol@x.test", "Carol")])
    carol = Contact.objects.get(address="carol@x.test")

    content = letter(bob.reverse_address, Cc=carol.reverse_address)
    assert [send(each.reverse_address, content)[0] for each in (bob, carol)] == [250, 250]

    assert [recipient for _sender, recipient, _content in hop.sent] == [BOB, "carol@x.test"]
    for _sender, _recipient, seen in hop.sent:
        assert b'Cc: "Carol" <carol@x.test>' in seen
        assert b"r." + b"z" not in seen


def test_what_is_signed_is_what_is_sent(
    example_com: Domain, alice: User, bob: Contact, send: Callable[..., tuple[int, bytes]], hop: Hop
) -> None:
    """SimpleLogin 1536, 2165: it was changed after it was signed. Here, text is replaced too."""
    keys = published_keys(example_com)
    preferences(alice, cleans_text=True)
    body = f"Grüße von {OWN} \t 📬\r\n .\r\n.\r\n \r\n\r\n"

    send(bob.reverse_address, letter(bob.reverse_address, body=body, Subject="Grüße"))

    assert OWN.encode() not in hop.sent[0][2]
    assert verified_by_dkimpy(hop.sent[0][2], keys) == [True, True]
