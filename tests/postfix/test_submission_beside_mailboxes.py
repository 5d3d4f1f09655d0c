"""Replies that are submitted to a Postfix with mailboxes, at a service as Debian's template has it."""
# ruff: noqa: F811 - fixtures of another module

from collections.abc import Iterator

import pytest

from accounts.models import User
from aliases import issuing
from contacts.models import Contact
from tests.postfix.sender import EVE
from tests.postfix.test_existing import Existing, anne, existing, their_postfix  # noqa: F401 - fixtures
from tests.rig.correspondents import contacts_for
from tests.rig.sasl import signed_in, submission_service

# Of Debian's master.cf.
OPTIONS = (
    "-o smtpd_reject_unlisted_recipient=no",
    "-o smtpd_recipient_restrictions=permit_sasl_authenticated,reject",
)
PASSWORD = "a-password-of-hers"
REPLY = (
    b"From: Anne <anne@home.test>\r\nTo: %s\r\nDate: Fri, 27 Nov 2026 10:00:00 +0000\r\n"
    b"Message-ID: <reply-1@home.test>\r\nSubject: Re: Hi\r\n\r\nThank you.\r\n"
)


@pytest.fixture
def port(existing: Existing, anne: User) -> Iterator[int]:
    """Of that service, once the README has been followed."""
    with submission_service(existing.postfix, {anne.email: PASSWORD}, *OPTIONS) as made:
        before = f"127.0.0.1:{made}/inet/smtpd_recipient_restrictions should be"
        assert any(before in line for line in existing.check())
        existing.apply()
        assert [line for line in existing.check() if "smtpd_recipient_restrictions" in line] == []
        yield made
    existing.postfix.command("postconf", "-X", "anonmail_recipients")


def test_a_reply_goes_out_and_mail_to_others_does_not_wait_for_anonmail(
    port: int,
    existing: Existing,
    anne: User,
) -> None:
    alias = issuing.issue(owner=anne, domain="shared.test", destinations=[anne.email])
    alias.hides_replies = True
    alias.save()
    contacts_for(alias.pk, [(EVE, "Eve")])
    contact = Contact.objects.get(alias=alias)

    with (
        existing.open() as site,
        signed_in(port, anne.email, PASSWORD, "laptop.test", "192.0.2.77") as program,
    ):
        assert (
            program.sendmail(anne.email, [contact.reverse_address], REPLY % contact.reverse_address.encode())
            == {}
        )
        (arrived,) = site.sink.wait_for(1)
    with signed_in(port, anne.email, PASSWORD, "laptop.test", "192.0.2.77") as program:
        others = program.sendmail(
            anne.email, ["bob@shared.test", "someone@sender.test"], REPLY % b"others@sender.test"
        )

    contact.refresh_from_db()
    assert (arrived.recipient, contact.replies) == (EVE, 1)
    assert b"anne" not in arrived.content
    assert others == {}
    existing.mail_of("bob@shared.test")
