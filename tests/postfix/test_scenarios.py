"""What a sender hears from a real Postfix, what arrives at the far end, and that nothing else does."""

import smtplib

from allauth.account.models import EmailAddress

from accounts.models import User
from aliases.models import Alias
from tests.postfix.conftest import Site

MESSAGE = b"From: Eve <eve@sender.test>\r\nTo: you\r\nSubject: Hi\r\n\r\nHello\r\n"


def issue(owner: User, *destinations: str) -> Alias:
    """An alias of the owner's to these destinations, none of them at example.com, which is ours alone."""
    wanted = destinations or (f"{owner.email.partition('@')[0]}@home.test",)
    for email in wanted:
        EmailAddress.objects.get_or_create(user=owner, email=email, defaults={"verified": True})
    return Alias.objects.issue(owner=owner, destinations=list(wanted))


def test_an_enabled_alias_gets_its_mail(alice: User, site: Site) -> None:
    alias = issue(alice)

    with smtplib.SMTP("127.0.0.1", site.ports.smtp, local_hostname="sender.test", timeout=30) as client:
        refused = client.sendmail("eve@sender.test", [alias.address], MESSAGE)

    assert refused == {}
    (arrived,) = site.sink.wait_for(1)
    assert arrived.recipient == "alice@home.test"
