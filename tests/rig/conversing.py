"""Two people who write to each other, each with a mail program, and what they keep."""

import re
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage

from tests.rig.mta import Arrived

_ID = re.compile(r"<[^<>\s]+>")


def read(content: bytes) -> EmailMessage:
    """The message as a mail program reads it."""
    return message_from_bytes(content, policy=policy.default)  # type: ignore[return-value]


def ids(message: EmailMessage, *names: str) -> list[str]:
    """The Message-IDs in these fields, in their order."""
    return [found for name in names for found in _ID.findall(str(message[name] or ""))]


@dataclass
class Person:
    """Who writes with this mail program, the Message-IDs that they know, and every octet that they saw."""

    mailbox: str
    known: set[str] = field(default_factory=set)
    saw: list[bytes] = field(default_factory=list)

    def gets(self, arrived: Arrived) -> EmailMessage:
        """Take what has arrived; the message as it is read."""
        message = read(arrived.content)
        self.saw += [arrived.sender.encode(), arrived.content]
        self.known |= set(ids(message, "Message-ID"))
        return message

    def writes(self, program: str, message_id: str, to: str, body: str, more: str = "") -> bytes:
        """A message with the fields of this program's, which are a format string."""
        self.known.add(message_id)
        fields = program.format(mailbox=self.mailbox, message_id=message_id, to=to, more=more)
        return (fields + "\n" + body).replace("\n", "\r\n").encode()

    def answers(self, program: str, message_id: str, message: EmailMessage, body: str) -> bytes:
        """An answer, which refers to the message as RFC 5322 §3.6.4 says."""
        (parent,) = ids(message, "Message-ID")
        thread = ids(message, "References") or ids(message, "In-Reply-To")
        references = "\n ".join([*thread, parent])
        to = str(message["Reply-To"] or message["From"])
        more = f"In-Reply-To: {parent}\nReferences: {references}\n"
        return self.writes(program, message_id, to, body, more)


THUNDERBIRD = """\
Message-ID: {message_id}
Date: Thu, 26 Nov 2026 12:00:00 +0545
MIME-Version: 1.0
User-Agent: Mozilla Thunderbird
Subject: =?UTF-8?Q?Re=3A_Gr=C3=BC=C3=9Fe?=
To: {to}
{more}Content-Language: en-US
X-Mozilla-Draft-Info: internal/draft; vcard=0; receipt=0; DSN=0; uuencode=0
Disposition-Notification-To: {mailbox}
Organization: Secret Home Ltd
From: {mailbox}
Autocrypt: addr=hidden.person@secret-home.test; keydata=
 xjMEZabcdBYJKwYBBAHaRw8BAQdA
Content-Type: text/plain; charset=UTF-8; format=flowed
Content-Transfer-Encoding: 8bit
"""
APPLE_MAIL = """\
Received: from smtpclient.apple ([2001:db8::77]) by laptop.secret-home.test
From: {mailbox}
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit
Mime-Version: 1.0 (Mac OS X Mail 16.0 \\(3826.700.81\\))
Subject: =?utf-8?Q?Re=3A_Gr=C3=BC=C3=9Fe?=
Date: Thu, 26 Nov 2026 23:30:00 +0545
{more}To: {to}
Message-Id: {message_id}
X-Mailer: Apple Mail (2.3826.700.81)
X-Originating-IP: [192.0.2.77]
X-Universally-Unique-Identifier: 1C1F8B0A-0000-4000-8000-0123456789AB
"""
OUTLOOK = """\
From: {mailbox}
To: {to}
Subject: =?utf-8?B?R3LDvMOfZQ==?=
Thread-Topic: Offer
Thread-Index: AQHbP1b8o3Vd0w==
Date: Thu, 26 Nov 2026 06:00:00 +0000
Message-ID: {message_id}
{more}Sender: {mailbox}
Disposition-Notification-To: {mailbox}
Return-Receipt-To: {mailbox}
X-Confirm-Reading-To: {mailbox}
Content-Type: text/plain; charset="utf-8"
Content-Transfer-Encoding: 8bit
MIME-Version: 1.0
"""
