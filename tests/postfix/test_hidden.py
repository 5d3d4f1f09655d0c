"""Forwards with reverse addresses through a real Postfix: what the owner gets, and whether it verifies."""

from email import message_from_bytes, policy
from pathlib import Path

import pytest

from accounts.models import User
from aliases.models import Alias
from contacts.models import Contact
from domains.models import Domain
from mail.delivery.message import header_fields
from mail.models import Activity
from tests.postfix.conftest import Site
from tests.postfix.sender import ACCEPTED, figures, issue, send, settled
from tests.rig.dkim_keys import published_keys
from tests.rig.dkim_verifiers import verified_by_dkimpy, verified_by_opendkim

HEADER = (
    "From: Zoë <eve@sender.test>\r\nTo: carol@other.test\r\nReply-To: desk@sender.test\r\n"
    "Sender: eve@sender.test\r\nSubject: Grüße\r\nMessage-ID: <1@sender.test>\r\n"
    "DKIM-Signature: v=1; d=sender.test\r\nDisposition-Notification-To: eve@sender.test\r\n"
    "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
).encode()
BODIES = {
    "plain": b"Hello\r\n",
    "8-bit, white space": "Grüße 📬 \t\r\n \r\nend\r\n\r\n\r\n".encode() + b"\xe4\xf6\xfc\r\n",
    "long lines and dots": b"x" * 5_000 + b"\r\n.\r\n..\r\n" + b"y" * 60_000 + b"\r\n",
}


def hiding(owner: User) -> Alias:
    alias = issue(owner)
    Alias.objects.filter(pk=alias.pk).update(hides_replies=True)
    return alias


@pytest.mark.parametrize("kind", BODIES)
def test_a_forward_hides_everybody_and_its_signature_verifies(
    alice: User, example_com: Domain, site: Site, kind: str, tmp_path: Path
) -> None:
    keys = published_keys(example_com)
    alias = hiding(alice)

    told = send(site, alias.address, content=HEADER + BODIES[kind], options="BODY=8BITMIME")

    assert [answer[:9] for answer in told.data] == [ACCEPTED]
    (arrived,) = settled(site, 1)
    header, _line, body = arrived.content.partition(b"\r\n\r\n")
    assert body == BODIES[kind]
    read = message_from_bytes(header + b"\r\n\r\n", policy=policy.default)
    eve, desk, carol = (
        Contact.objects.get(alias=alias, address=address).reverse_address
        for address in ("eve@sender.test", "desk@sender.test", "carol@other.test")
    )
    assert read["From"].addresses[0].addr_spec == eve
    assert [each.addr_spec for each in read["Reply-To"].addresses] == [desk]
    assert [each.addr_spec for each in read["To"].addresses] == [carol]
    assert read["Message-ID"] == "<1@sender.test>"
    assert read["Sender"] is read["Disposition-Notification-To"] is None
    names = {name for name, text in header_fields(arrived.content) if "@sender.test" in text}
    assert names == {"x-anonmail-author", "message-id"}
    # Postfix's own fields are above ours.
    signed = header[header.index(b"DKIM-Signature:") :] + b"\r\n\r\n" + body
    assert verified_by_dkimpy(signed, keys) == [True, True]
    assert verified_by_opendkim(tmp_path, {"forward": signed}, keys) == {"forward": ["rsa", "ed25519"]}
    assert figures(alias) == (1, 0)
    assert Activity.objects.get().contact == Contact.objects.get(reverse_address=eve)
