"""Messages of all kinds, and broken ones: what real mail programs and real senders make."""

import base64
import quopri
from collections.abc import Iterator

# In each body, and nowhere else.
CANARY = b"canary-in-a-coal-mine"
SUBJECT = b"secret-subject"

HEADER = b"From: Eve <eve@sender.test>\r\nTo: alias@example.com\r\nMessage-ID: <1@sender.test>\r\n"
HEADER += b"Date: Fri, 27 Nov 2026 10:00:00 +0000\r\nSubject: " + SUBJECT + b"\r\n"
TEXT = b"Hello,\r\n\r\n" + CANARY + b"\r\n-- \r\nEve\r\n"

_IMAGE = base64.encodebytes(bytes(range(256)) * 4).replace(b"\n", b"\r\n")


def _message(described: bytes, body: bytes, header: bytes = HEADER) -> bytes:
    return header + b"MIME-Version: 1.0\r\n" + described + b"\r\n" + body


def _part(described: bytes, body: bytes, boundary: bytes) -> bytes:
    return b"--" + boundary + b"\r\n" + described + b"\r\n" + body + b"\r\n"


def _multipart(
    kind: bytes, *parts: tuple[bytes, bytes], boundary: bytes = b"b0", end: bytes = b"--"
) -> bytes:
    made = b"".join(_part(described, body, boundary) for described, body in parts)
    described = b"Content-Type: multipart/" + kind + b'; boundary="' + boundary + b'"\r\n'
    return _message(described, made + b"--" + boundary + end + b"\r\n")


_PLAIN = (b"Content-Type: text/plain; charset=utf-8\r\n", TEXT)
_HTML = (b"Content-Type: text/html; charset=utf-8\r\n", b"<p>" + CANARY + b"</p>\r\n")
_PICTURE = (
    b'Content-Type: image/png; name="a b.png"\r\nContent-Transfer-Encoding: base64\r\n'
    b"Content-Disposition: attachment; filename*=utf-8''%C3%BCber.png\r\n",
    _IMAGE,
)
_CALENDAR = (
    b"Content-Type: text/calendar; method=REQUEST; charset=utf-8\r\n",
    b"BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nSUMMARY:" + CANARY + b"\r\nEND:VCALENDAR\r\n",
)
_SIGNATURE = (
    b"Content-Type: application/pgp-signature; name=signature.asc\r\n",
    b"-----BEGIN PGP SIGNATURE-----\r\n\r\niQ==\r\n-----END PGP SIGNATURE-----\r\n",
)
_SMIME = (
    b"Content-Type: application/pkcs7-signature; name=smime.p7s\r\nContent-Transfer-Encoding: base64\r\n",
    _IMAGE,
)


def _encoded() -> Iterator[tuple[str, bytes]]:
    """One text in each charset and encoding."""
    word = "Grüße, 你好 – Ω"
    for charset in (
        "utf-8",
        "iso-8859-1",
        "windows-1252",
        "utf-7",
        "gb18030",
        "iso-2022-jp",
        "koi8-r",
        "x-odd",
    ):
        known = charset if charset != "x-odd" else "utf-8"
        raw = CANARY + b"\r\n" + word.encode(known, "replace") + b"\r\n"
        for encoding in ("7bit", "8bit", "binary", "quoted-printable", "base64", "x-uuencode"):
            body = raw
            if encoding == "base64":
                body = base64.encodebytes(raw).replace(b"\n", b"\r\n")
            elif encoding == "quoted-printable":
                body = quopri.encodestring(raw.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
            described = (
                f"Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n"
            )
            yield f"{charset} in {encoding}", _message(described.encode(), body)


def _structured() -> Iterator[tuple[str, bytes]]:
    yield "alternative", _multipart(b"alternative", _PLAIN, _HTML)
    yield "mixed", _multipart(b"mixed", _PLAIN, _PICTURE)
    yield "related", _multipart(b"related", _HTML, _PICTURE)
    yield "calendar", _multipart(b"alternative", _PLAIN, _CALENDAR)
    yield "calendar alone", _message(*_CALENDAR)
    yield "picture alone", _message(*_PICTURE)
    yield "signed by OpenPGP", _multipart(b'signed; protocol="application/pgp-signature"', _PLAIN, _SIGNATURE)
    yield "signed by S/MIME", _multipart(b'signed; protocol="application/pkcs7-signature"', _PLAIN, _SMIME)
    yield (
        "signed S/MIME in one part",
        _message(b"Content-Type: application/pkcs7-mime; smime-type=signed-data\r\n", _IMAGE + CANARY),
    )
    yield "digest", _multipart(b"digest", (b"", HEADER + b"\r\n" + TEXT))
    yield (
        "forwarded",
        _multipart(b"mixed", _PLAIN, (b"Content-Type: message/rfc822\r\n", HEADER + b"\r\n" + TEXT)),
    )
    yield (
        "report",
        _multipart(
            b"report; report-type=delivery-status",
            _PLAIN,
            (b"Content-Type: message/delivery-status\r\n", b"Reporting-MTA: dns; x\r\n\r\nStatus: 5.1.1\r\n"),
        ),
    )
    for boundary in (b"=_'()+,-./:=?", b"a b", b"x" * 70, b"0", b"----=_Part_1"):
        yield f"boundary {boundary!r}", _multipart(b"mixed", _PLAIN, _PICTURE, boundary=boundary)
    deep = TEXT
    described = b"Content-Type: text/plain\r\n"
    for level in range(30):
        mark = f"level{level}".encode()
        deep = _part(described, deep, mark) + b"--" + mark + b"--\r\n"
        described = b'Content-Type: multipart/mixed; boundary="' + mark + b'"\r\n'
    yield "thirty levels", _message(described, deep)
    yield "many parts", _multipart(b"mixed", *[_PLAIN] * 300)
    for flowed in ("format=flowed", "format=flowed; delsp=yes", "Format=Flowed"):
        lines = b"A line that \r\nflows \r\n>> quoted \r\n  stuffed\r\n" + CANARY + b"\r\n"
        yield flowed, _message(f"Content-Type: text/plain; {flowed}\r\n".encode(), lines)


def _bodies() -> Iterator[tuple[str, bytes]]:
    """Bodies without a description, in all states."""
    for name, body in {
        "empty": b"",
        "one line end": b"\r\n",
        "only spaces": b"   \r\n\t\r\n",
        "no line end": CANARY,
        "bare line feeds": b"a\nb\n" + CANARY + b"\n",
        "bare returns": b"a\rb\r" + CANARY + b"\r",
        "all line ends": b"a\r\nb\nc\rd\n\re\r\r\n" + CANARY,
        "zeros": b"a\0b\0\0" + CANARY,
        "all octets": bytes(range(256)) + CANARY,
        "a long line": b"x" * 200_000 + CANARY,
        "many lines": b"line\r\n" * 20_000 + CANARY,
        "dots": b".\r\n..\r\n.a\r\n" + CANARY,
        "delimiters": b"--\r\n--b0\r\n--b0--\r\n" + CANARY,
        "a mailbox line": b"From eve Fri Nov 27\r\n>From eve\r\n" + CANARY,
        "a header": b"Subject: another\r\nFrom: x@y.test\r\n\r\n" + CANARY,
        "spaces at ends": b"a  \r\nb\t\r\n-- \r\n" + CANARY + b"   \r\n\r\n\r\n\r\n",
        "a quoted message": b"> -----BEGIN PGP MESSAGE-----\r\n" + CANARY,
        "text before a message": CANARY
        + b"\r\n-----BEGIN PGP MESSAGE-----\r\n\r\n-----END PGP MESSAGE-----\r\n",
        "text after a message": b"-----BEGIN PGP MESSAGE-----\r\n\r\n-----END PGP MESSAGE-----\r\n" + CANARY,
        "a clear signature": b"-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA512\r\n\r\n" + CANARY,
        "a key": b"-----BEGIN PGP PUBLIC KEY BLOCK-----\r\n" + CANARY,
        "utf-8": ("Grüße 🙂\r\n").encode() + CANARY,
        "broken utf-8": b"\xff\xfe\xc3\x28\r\n" + CANARY,
        "a byte order mark": b"\xef\xbb\xbf" + CANARY,
        "a megabyte and more": b"y" * 1_200_000 + CANARY,
    }.items():
        yield f"body: {name}", HEADER + b"\r\n" + body


def _headers() -> Iterator[tuple[str, bytes]]:
    """Headers that are odd or broken."""
    base = HEADER.replace(b"Subject: " + SUBJECT + b"\r\n", b"")
    for name, header in {
        "no subject": base,
        "empty subject": base + b"Subject:\r\n",
        "two subjects": base + b"Subject: a\r\nSubject: b\r\n",
        "folded subject": base + b"Subject: a\r\n\tb\r\n c\r\n",
        "encoded subject": base + b"Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\n",
        "raw subject": base + "Subject: Grüße\r\n".encode(),
        "latin subject": base + b"Subject: Gr\xfc\xdfe\r\n",
        "long subject": base + b"Subject: " + b"s" * 50_000 + b"\r\n",
        "thread topic": HEADER + b"Thread-Topic: " + SUBJECT + b"\r\nThread-Index: AdX\r\n",
        "spam report": HEADER + b"X-Spam-Report: preview\r\n\t" + CANARY + b"\r\nX-Spam-Flag: NO\r\n",
        "comments": HEADER + b"Comments: " + CANARY + b"\r\nKeywords: " + CANARY + b"\r\n",
        "no from": base.replace(b"From: Eve <eve@sender.test>\r\n", b""),
        "two froms": HEADER + b"From: other@sender.test\r\n",
        "a group": HEADER.replace(b"Eve <eve@sender.test>", b"A: a@b.test, c@d.test;"),
        "several authors": HEADER.replace(b"Eve <eve@sender.test>", b"a@b.test, c@d.test"),
        "a sender": HEADER + b"Sender: s@sender.test\r\n",
        "reply to": HEADER + b"Reply-To: r@sender.test\r\n",
        "list": HEADER + b"List-Id: <l.sender.test>\r\nList-Unsubscribe: <https://l.test/u>\r\n",
        "signed": HEADER + b"DKIM-Signature: v=1; d=sender.test; h=from; b=x\r\nARC-Seal: i=1\r\n",
        "resent": HEADER + b"Resent-From: r@sender.test\r\nResent-To: s@sender.test\r\n",
        "received": b"Received: from a by b; Fri, 27 Nov 2026 10:00:00 +0000\r\n" * 20 + HEADER,
        "ours": HEADER + b"X-Anonmail-Alias: forged@example.com\r\nX-Anonmail-Encryption: pgp\r\n",
        "line feeds": HEADER.replace(b"\r\n", b"\n"),
        "names in capitals": HEADER.replace(b"Subject", b"SUBJECT").replace(b"From", b"FROM"),
        "space before colon": HEADER.replace(b"Subject:", b"Subject :"),
        "empty field": HEADER + b"X-Empty:\r\n",
        "many fields": HEADER + b"".join(b"X-%d: y\r\n" % each for each in range(2000)),
        "a line that is no field": HEADER + b"this is no field\r\n",
        "a mailbox line on top": b"From eve@sender.test Fri Nov 27 10:00:00 2026\r\n" + HEADER,
        "no MIME version": HEADER + b"Content-Type: text/html; charset=utf-8\r\n",
        "another MIME version": HEADER + b"MIME-Version: 2.0 (odd)\r\nContent-Type: text/plain\r\n",
        "two content types": HEADER + b"Content-Type: text/html\r\nContent-Type: text/plain\r\n",
        "a broken content type": HEADER + b"Content-Type: ;;;=\r\n",
        "an empty content type": HEADER + b"Content-Type:\r\n",
        "an unknown encoding": HEADER + b"Content-Transfer-Encoding: x-odd\r\n",
        "a language": HEADER + b"Content-Language: de\r\nContent-Description: " + CANARY + b"\r\n",
        "multipart without boundary": HEADER + b"Content-Type: multipart/mixed\r\n",
        "multipart with an empty boundary": HEADER + b'Content-Type: multipart/mixed; boundary=""\r\n',
        "utf-8 addresses": HEADER.replace(b"eve@sender.test", "eve@bücher.test".encode()),
        "a name with quotes": HEADER.replace(b"Eve <", b'"E\\"ve, (x) <y@z.test>" <'),
    }.items():
        yield f"header: {name}", header + b"\r\n" + TEXT


def _broken() -> Iterator[tuple[str, bytes]]:
    yield "no closing delimiter", _multipart(b"mixed", _PLAIN, _PICTURE, end=b"")
    whole = _multipart(b"mixed", _PLAIN, _PICTURE)
    yield "cut off", whole[:-300]
    yield "a wrong boundary", whole.replace(b'boundary="b0"', b'boundary="b1"')
    yield "no header at all", b"\r\n" + TEXT
    yield "a body alone", b"hello " + CANARY + b"\r\n"
    yield "a header alone", HEADER
    yield "a header without its last line end", HEADER.removesuffix(b"\r\n")
    yield "nothing", b""
    yield "line feeds everywhere", whole.replace(b"\r\n", b"\n")
    for at in range(0, len(whole), 29):
        yield f"an octet changed at {at}", whole[:at] + b"\xff" + whole[at + 1 :]


# By what is odd about each.
ODD_MESSAGES: dict[str, bytes] = {
    name: content for kind in (_encoded, _structured, _bodies, _headers, _broken) for name, content in kind()
}
