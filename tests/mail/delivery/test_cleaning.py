"""What a correspondent sees of a reply: the alias, and nothing else."""

import base64
import quopri
import time
from datetime import timedelta
from email import message_from_bytes
from email.utils import parsedate_to_datetime

import pytest
from django.utils import timezone

from core.mailboxes import Mailbox
from mail.delivery.cleaning import Draft, Unsendable, Writer, cleaned
from mail.delivery.revealing import UNREADABLE

ALIAS = "shop.word@example.com"
OWN = "alice@secret-home.test"
BOB, EVE = "r." + "b" * 26 + "@example.com", "r." + "e" * 26 + "@example.com"
BOB_SELF = Mailbox("Bob B.", "bob@sender.test")

HEADER = (
    f"Received: from laptop.secret-home.test ([192.0.2.7]) by mx.secret-home.test\r\n"
    f"From: Alice Secret <{OWN}>\r\nSender: {OWN}\r\nReply-To: {OWN}\r\n"
    f'To: "Bob - bob at sender.test" <{BOB}>\r\n'
    f"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nDate: Thu, 26 Nov 2026 19:00:00 +0200\r\n"
    "Message-ID: <1@laptop.secret-home.test>\r\nIn-Reply-To: <a@sender.test>\r\n"
    "References: <a@sender.test>\r\nUser-Agent: Thunderbird\r\nX-Originating-IP: [192.0.2.7]\r\n"
    f"Autocrypt: addr={OWN}; keydata=AAAA\r\nDisposition-Notification-To: {OWN}\r\n"
    f"Return-Receipt-To: {OWN}\r\nX-Mailer: Mutt\r\nThread-Index: AdAA\r\n"
    "DKIM-Signature: v=1; d=secret-home.test\r\n"
    "Bcc: eve@secret-home.test\r\nOpenPGP: id=ABCD\r\nOrganization: Secret\r\n"
)
PLAIN = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"


def writer(**more: object) -> Writer:
    given = {
        "alias": ALIAS,
        "name": "",
        "own": frozenset({OWN}),
        "correspondents": {BOB: BOB_SELF},
    }
    return Writer(**(given | more))  # type: ignore[arg-type]


def clean(content: str | bytes, **more: object) -> bytes:
    octets = content.encode() if isinstance(content, str) else content
    draft = Draft(octets)
    header, body = cleaned(draft, writer(**more), draft.message_id or "<x@invalid>", lambda each: False)
    return header + body


def reason(content: str | bytes, **more: object) -> str:
    with pytest.raises(Unsendable) as caught:
        clean(content, **more)
    return str(caught.value)


def header_with(**fields: str) -> str:
    """The header with other values of some fields, "" to leave one out."""
    lines = []
    for line in HEADER.split("\r\n"):
        name = line.partition(":")[0].replace("-", "_")
        value = fields.pop(name, None)
        if value is None:
            lines.append(line)
        elif value:
            lines.append(f"{name.replace('_', '-')}: {value}")
    return "\r\n".join(lines) + "".join(
        f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items()
    )


def test_only_a_short_list_of_fields_goes_out() -> None:
    found = message_from_bytes(clean(HEADER + PLAIN + "\r\nHello\r\n"))

    kept = "From To Date Message-ID In-Reply-To References Subject MIME-Version Content-Type"
    assert found.keys() == kept.split()
    assert found["From"] == ALIAS
    assert found["To"] == '"Bob B." <bob@sender.test>'
    assert found["Subject"] == "=?utf-8?q?Gr=C3=BC=C3=9Fe?="
    assert found["Date"] == "Thu, 26 Nov 2026 17:00:00 +0000"
    assert found["In-Reply-To"] == found["References"] == "<a@sender.test>"
    for word in (b"secret", b"Secret", b"laptop", b"192.0.2", b"Thunderbird", b"0200"):
        assert word not in clean(HEADER + PLAIN + "\r\nHello\r\n")


def test_the_aliass_name_is_shown() -> None:
    assert message_from_bytes(clean(HEADER + "\r\n", name="A. Nonym"))["From"] == f'"A. Nonym" <{ALIAS}>'
    # An @ in it would look like an address.
    assert "@" not in message_from_bytes(clean(HEADER + "\r\n", name="me@home"))["From"].partition("<")[0]


def test_the_bodys_octets_stay() -> None:
    body = b"\xff\x00 8-bit \r\n.\r\n" + b"x" * 5000 + b"\r\nbare\nLF\rCR \t\r\n\r\n"

    assert clean((HEADER + "\r\n").encode() + body).endswith(b"\r\n\r\n" + body)


def test_automatic_mail_stays_automatic() -> None:
    found = message_from_bytes(clean(HEADER + "Auto-Submitted: auto-replied\r\nPrecedence: bulk\r\n\r\n"))

    assert (found["Auto-Submitted"], found["Precedence"]) == ("auto-replied", "bulk")


def test_a_missing_date_and_message_id_are_made() -> None:
    found = message_from_bytes(clean(header_with(Date="", Message_ID="") + "\r\n"))

    assert found["Date"].endswith("+0000")
    assert found["Message-ID"].startswith("<m.")


def test_reply_all_maps_every_reverse_address_and_drops_the_own_ones() -> None:
    header = header_with(Cc=f"{EVE}, Me <{OWN.upper()}>, {ALIAS}")
    found = message_from_bytes(
        clean(header + "\r\n", correspondents={BOB: BOB_SELF, EVE: Mailbox("", "eve@sender.test")})
    )

    assert found["To"] == '"Bob B." <bob@sender.test>'
    assert found["Cc"] == "eve@sender.test"


def test_a_hidden_recipient_stays_hidden() -> None:
    assert message_from_bytes(clean(header_with(To=OWN) + "\r\n"))["To"] == "undisclosed-recipients:;"


def test_others_are_refused_unless_the_person_allows_them() -> None:
    header = header_with(Cc="Carol <carol@sender.test>") + "\r\n"

    assert "not a reverse address of this alias" in reason(header)
    assert message_from_bytes(clean(header, allows_others=True))["Cc"] == '"Carol" <carol@sender.test>'


def test_a_reverse_address_of_another_alias_is_always_refused() -> None:
    assert "another alias" in reason(header_with(Cc=EVE) + "\r\n", allows_others=True)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"To": "not an address"}, "An address in To cannot be read"),
        ({"To": f"{BOB}\r\nTo: {EVE}"}, "more than one To field"),
        ({"Subject": f"From {OWN}"}, "Subject names your own address"),
        ({"Subject": "=?utf-8?b?" + base64.b64encode(OWN.encode()).decode() + "?="}, "Subject names"),
        ({"Subject": "x\rBcc: y@z.test"}, "line ends"),
        ({"Subject": "x\nBcc: y@z.test"}, "line ends"),
    ],
)
def test_a_header_that_cannot_be_read_or_shows_the_owner_is_refused(
    fields: dict[str, str], told: str
) -> None:
    assert told in reason(header_with(**fields) + "\r\n")


@pytest.mark.parametrize(
    "text",
    [
        f"{OWN}, eve@sender.test",
        f'"{OWN}" <eve@sender.test>, {OWN}',
        "Group: ;",
        "",
        f"{OWN}\r\nFrom: eve@sender.test",
        f"<{OWN}> <eve@sender.test>",
        f"{OWN} (comment",
    ],
)
def test_from_must_be_one_address(text: str) -> None:
    with pytest.raises(Unsendable):
        _ = Draft((header_with(From=text) + "\r\n").encode()).author


def multipart(kind: str, *parts: str, more: str = "") -> str:
    body = "".join(f"--x\r\n{part}\r\n" for part in parts)
    return HEADER + f'MIME-Version: 1.0\r\nContent-Type: {kind}; boundary="x"{more}\r\n\r\n{body}--x--\r\n'


TEXT = "Content-Type: text/plain\r\n\r\nHello\r\n"
ICS = "BEGIN:VCALENDAR\r\nMETHOD:REPLY\r\nATTENDEE;PARTSTAT=ACCEPTED:mailto:alice@\r\n secret-home.test\r\n"


def coded(text: str | bytes, kind: str, name: str = "") -> str:
    octets = text.encode() if isinstance(text, str) else text
    disposition = f'Content-Disposition: attachment; filename="{name}"\r\n' if name else ""
    return (
        f"Content-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\n{disposition}\r\n"
        f"{base64.encodebytes(octets).decode()}"
    )


def armour(kind: str, octets: bytes) -> str:
    text = base64.encodebytes(octets).decode()
    return f"-----BEGIN PGP {kind}-----\r\n\r\n{text}=AbCd\r\n-----END PGP {kind}-----\r\n"


REVEALING = {
    "calendar": (multipart("multipart/mixed", TEXT, coded(ICS, "text/calendar")), "calendar answer"),
    "calendar by name": (
        multipart("multipart/mixed", TEXT, coded(ICS, "application/octet-stream", "invite.ics")),
        "calendar answer",
    ),
    "receipt": (
        multipart(
            "multipart/report",
            TEXT,
            f"Content-Type: message/disposition-notification\r\n\r\nFinal-Recipient: rfc822;{OWN}\r\n",
            more="; report-type=disposition-notification",
        ),
        "read receipt",
    ),
    "card": (multipart("multipart/mixed", TEXT, coded(f"EMAIL:{OWN}\r\n", "text/vcard")), "business card"),
    "winmail.dat": (
        multipart("multipart/mixed", TEXT, coded(b"x", "application/octet-stream", "winmail.dat")),
        "winmail.dat",
    ),
    "key": (
        multipart(
            "multipart/mixed", TEXT, coded(armour("PUBLIC KEY BLOCK", OWN.encode()), "application/pgp-keys")
        ),
        "key names",
    ),
    "key in the text": (
        HEADER + PLAIN + "\r\n" + armour("PUBLIC KEY BLOCK", b"\x99\x01 Alice <" + OWN.encode() + b">"),
        "key names",
    ),
    "signature": (
        multipart(
            "multipart/signed",
            TEXT,
            "Content-Type: application/pgp-signature\r\n\r\n" + armour("SIGNATURE", b"\x88 " + OWN.encode()),
        ),
        "signature can show",
    ),
    "signature in the text": (
        HEADER + PLAIN + "\r\n-----BEGIN PGP SIGNED MESSAGE-----\r\n\r\nHi\r\n" + armour("SIGNATURE", b"x"),
        "signature can show",
    ),
    "S/MIME": (
        multipart("multipart/signed", TEXT, coded(b"0\x82" + OWN.encode(), "application/pkcs7-signature")),
        "signature can show",
    ),
    "S/MIME in one piece": (
        HEADER + coded(b"0\x82" + OWN.encode(), "application/pkcs7-mime; smime-type=signed-data"),
        "signature can show",
    ),
    "attached message": (
        multipart(
            "multipart/mixed", TEXT, f"Content-Type: message/rfc822\r\n\r\nDelivered-To: {OWN}\r\n\r\nHi\r\n"
        ),
        "attached message",
    ),
    "attached message with a trace": (
        multipart(
            "multipart/mixed", TEXT, "Content-Type: message/rfc822\r\n\r\nReceived: from x by y\r\n\r\nHi\r\n"
        ),
        "attached message",
    ),
    "protected header": (
        multipart(
            "multipart/mixed",
            f'Content-Type: text/plain; protected-headers="v1"\r\nFrom: {OWN}\r\n\r\nHi\r\n',
        ),
        "A part of the message",
    ),
    "cut off": (HEADER + 'Content-Type: multipart/mixed; boundary="x"\r\n\r\nHello\r\n', "cannot be read"),
    "too deep": (
        HEADER
        + 'Content-Type: multipart/mixed; boundary="x"\r\n\r\n'
        + '--x\r\nContent-Type: multipart/mixed; boundary="x"\r\n\r\n' * 50,
        "cannot be read",
    ),
}


@pytest.mark.parametrize("name", REVEALING)
def test_a_part_that_shows_the_owner_is_refused_unless_they_allow_it(name: str) -> None:
    content, told = REVEALING[name]

    assert told in reason(content)
    assert clean(content, allows_revealing=True).endswith(content.encode().partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize(
    "content",
    [
        HEADER + PLAIN + f"\r\nOn Monday, {OWN} wrote:\r\n> Hi\r\n",
        multipart("multipart/mixed", TEXT, coded("ATTENDEE:mailto:bob@sender.test\r\n", "text/calendar")),
        multipart("multipart/mixed", TEXT, coded(f"EMAIL:{ALIAS}\r\n", "text/vcard")),
        multipart("multipart/signed", TEXT, coded(b"0\x82" + ALIAS.encode(), "application/pkcs7-signature")),
        multipart(
            "multipart/mixed", TEXT, "Content-Type: message/rfc822\r\n\r\nFrom: bob@sender.test\r\n\r\nHi\r\n"
        ),
        multipart("multipart/mixed", TEXT, coded(b"%PDF " + OWN.encode(), "application/pdf", "a.pdf")),
    ],
)
def test_prose_and_what_names_nobody_goes_out(content: str) -> None:
    assert clean(content).endswith(content.encode().partition(b"\r\n\r\n")[2])


def test_the_text_is_replaced_only_if_the_person_wants_it_and_only_whole_addresses() -> None:
    others = f"Not malice@secret-home.test, x{OWN}, {OWN}.evil.test.\r\n"
    text = f"On Monday, <{OWN.title()}> wrote to {BOB}. {others}"
    content = HEADER + PLAIN + f"\r\n{text}"

    changed = clean(content, cleans_text=True).partition(b"\r\n\r\n")[2].decode()

    assert clean(content).endswith(text.encode())
    assert changed == f"On Monday, <{ALIAS}> wrote to bob@sender.test. {others}"


@pytest.mark.parametrize("coding", ["base64", "quoted-printable"])
def test_the_text_of_a_part_is_replaced_in_its_coding(coding: str) -> None:
    text = f"Grüße von {OWN}, {'lang ' * 30}\r\n> {OWN}\r\n".encode()
    octets = (
        base64.encodebytes(text) if coding == "base64" else quopri.encodestring(text.replace(b"\r\n", b"\n"))
    )
    part = f"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: {coding}\r\n\r\n"
    octets = octets.replace(b"\n", b"\r\n")
    content = multipart("multipart/alternative", part + octets.decode(), TEXT)

    found = message_from_bytes(clean(content, cleans_text=True))

    first, second = found.get_payload()  # type: ignore[misc]
    assert first.get_payload(decode=True).strip() == text.replace(OWN.encode(), ALIAS.encode()).strip()
    assert second.get_payload() == "Hello\r\n"


def test_what_is_signed_or_encrypted_is_never_changed() -> None:
    signed = multipart(
        "multipart/signed", f"Content-Type: text/plain\r\n\r\n{OWN}\r\n", coded(b"x", "application/x")
    )

    assert clean(signed, cleans_text=True, allows_revealing=True).endswith(
        signed.encode().partition(b"\r\n\r\n")[2]
    )


@pytest.mark.parametrize("text", ["." * 100_000, "a " * 60_000])
def test_a_long_from_field_is_not_read(text: str) -> None:
    began = time.process_time()

    with pytest.raises(Unsendable, match="too long"):
        _ = Draft((header_with(From=f"{text} <{OWN}>") + "\r\n").encode()).author

    assert time.process_time() - began < 1


def test_neither_mail_program_nor_computer_shows_in_what_describes_the_body() -> None:
    content = clean(
        HEADER + "MIME-Version: 1.0 (Mac OS X Mail 16.0 \\(3774.500.171\\))\r\n"
        "Content-ID: <6E4C@alices-laptop.local>\r\nContent-Type: text/plain\r\n\r\nHello\r\n"
    )

    assert b"MIME-Version: 1.0\r\n" in content
    assert b"Mac" not in content
    # Nothing in the message refers to the whole of it.
    assert b"alices-laptop" not in content


def test_a_date_at_the_end_of_time_is_left_out() -> None:
    content = clean(header_with(Date="Fri, 31 Dec 9999 23:59:59 -1400") + PLAIN + "\r\nHello\r\n")

    found = parsedate_to_datetime(message_from_bytes(content)["Date"])
    assert abs(found - timezone.now()) < timedelta(minutes=1)


@pytest.mark.parametrize(
    "field",
    [
        "Content-Type: multipart/mixed; boundary*=idna'en'%61%2e%62",
        "Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename*=idna'en'a",
    ],
)
def test_a_parameter_that_cannot_be_read_is_refused(field: str) -> None:
    """An error would be answered "try again later", for ever."""
    content = f"{HEADER}MIME-Version: 1.0\r\n{field}\r\n\r\nHello\r\n"

    assert reason(content) == UNREADABLE
    assert clean(content, allows_revealing=True, cleans_text=True).endswith(b"Hello\r\n")


def test_tags_change_neither_the_alias_nor_a_reverse_address() -> None:
    cc = ALIAS.replace("@", "+tag@")
    assert message_from_bytes(clean(header_with(Cc=cc) + PLAIN + "\r\nHello\r\n"))["Cc"] is None

    cc = EVE.replace("@", "+tag@")
    assert "of another alias" in reason(header_with(Cc=cc) + PLAIN + "\r\n", allows_others=True)
