"""A reply through a real Postfix, in both designs: who sends it, Postfix tells at RCPT."""

from email.utils import format_datetime

import pytest
from django.core import mail
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from contacts.models import Contact
from mail.models import Activity
from tests.postfix.conftest import Site
from tests.postfix.sender import issue, settled, stranger
from tests.postfix.test_privacy import HIDDEN, assert_hidden
from tests.rig.correspondents import contacts_for
from tests.rig.nameserver import nameserver


@pytest.mark.parametrize("is_allowed", [True, False])
def test_the_owners_provider_may_send_and_nobody_else(
    alice: User, site: Site, settings: Settings, is_allowed: bool
) -> None:
    alias = issue(alice, HIDDEN)
    contacts_for(alias.pk, [("eve@sender.test", "Eve")])
    eve = Contact.objects.get(alias=alias)
    content = (
        f"Received: from laptop.secret-home.test ([192.0.2.77]) by mx.secret-home.test\r\n"
        f"From: Hidden <{HIDDEN}>\r\nTo: {eve.reverse_address}\r\nSubject: Hi\r\nUser-Agent: Secret/1\r\n"
        f"Date: {format_datetime(timezone.localtime(timezone=timezone.get_fixed_timezone(345)))}\r\n"
        "Message-ID: <1@laptop.secret-home.test>\r\n\r\nHello\r\n"
    ).encode()
    spf = f'TXT "v=spf1 ip4:192.0.2.{1 if is_allowed else 2} -all"'
    with nameserver({"secret-home.test": [spf]}) as dns:
        settings.DNS_RESOLVERS = [f"127.0.0.1:{dns.port}"]
        with stranger(site, b"mx.secret-home.test") as provider:
            provider.send(eve.reverse_address, content=content, sender=HIDDEN)

        arrived = settled(site, int(is_allowed))

    assert [each.recipient for each in arrived] == ["eve@sender.test"] * is_allowed
    eve.refresh_from_db()
    assert eve.replies == is_allowed
    assert len(mail.outbox) == (not is_allowed)
    for each in arrived:
        seen = each.sender.encode() + each.content
        assert f"From: {alias.address}\r\n".encode() in seen
        assert_hidden(seen, HIDDEN, "laptop", "192.0.2", "Secret/1", "+0545", "X-Anonmail")
        assert Activity.objects.get().event == "reply"
