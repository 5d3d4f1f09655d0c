"""Who leaked it: mail to an alias that was made for one website, through a real Postfix in both designs."""

import pytest
from pytest_django import Settings

from accounts.models import User
from aliases.models import Alias, SenderAnswer, SenderDomain
from contacts.models import Contact
from contacts.senders import answer
from mail.models import Activity
from tests.postfix.conftest import Site
from tests.postfix.sender import figures, issue, send, settled

# What the mail server in front (a milter of Postfix's, such as rspamd) writes on top.
FRONT = "mx.example.com"


@pytest.fixture
def alias(alice: User) -> Alias:
    alias = issue(alice)
    alias.edit(hostname="www.shop.com")
    return alias


def mail(number: int, author: str, found: str = "none") -> bytes:
    return (
        f"Authentication-Results: {FRONT}; {found}\r\nFrom: {author}\r\nTo: you\r\n"
        f"Subject: {number}\r\nMessage-ID: <{number}@test>\r\n\r\nHello\r\n"
    ).encode()


def dkim(domain: str) -> str:
    return f"dkim=pass header.d={domain}"


# What comes, in this order: the author, what the server in front found, the envelope sender's domain; and
# whether the sender is marked then, as which domain, and whether that is proven.
STREAM = [
    # The website: from its own server, from a subdomain, and with nothing that proves it.
    ("orders@shop.com", dkim("shop.com"), "shop.com", None),
    ("news@mail.shop.com", dkim("mail.shop.com"), "mail.shop.com", None),
    ("orders@shop.com", "none", "shop.com", None),
    # Its mailing service, with the website's signature, whatever else the service signs with.
    ("offers@shop.com", f"{dkim('shop.com')}; {dkim('mailer.net')}", "bounce.mailer.net", None),
    ("shop@mailer.net", dkim("shop.com"), "bounce.mailer.net", None),
    # With the service's signature alone: From is the website's, and nothing disowns it.
    ("offers@shop.com", dkim("mailer.net"), "bounce.mailer.net", None),
    # With an author of the service's own.
    ("shop@send.mailer.net", dkim("mailer.net"), "bounce.mailer.net", ("mailer.net", True)),
    # A list whose author's domain disowns what the list has changed.
    ("jo@person.org", f"dmarc=fail; {dkim('lists.club.org')}", "lists.club.org", ("club.org", True)),
    # A stranger; and another one who says so only.
    ("win@stranger.biz", dkim("stranger.biz"), "stranger.biz", ("stranger.biz", True)),
    ("hi@other.info", "spf=fail smtp.mailfrom=other.info", "other.info", ("other.info", False)),
    # Again: it is one mark, and one question.
    ("more@new.stranger.biz", dkim("stranger.biz"), "stranger.biz", ("stranger.biz", True)),
    # One whose own domain disowns the message, and who has signed nothing.
    ("win@careless.biz", "dmarc=fail", "careless.biz", ("careless.biz", False)),
    # Forged in the website's name, and nobody has signed it: there is nobody to name.
    ("orders@shop.com", "dmarc=fail", "evil.example", None),
]


@pytest.mark.parametrize("hides_replies", [False, True])
def test_a_stream_of_mail_to_an_alias_of_one_website(
    alias: Alias, site: Site, settings: Settings, hides_replies: bool
) -> None:
    settings.MAIL_AUTHSERV_IDS = [FRONT]
    alias.edit(hides_replies=hides_replies)
    marked = []
    for number, (author, found, domain, _mark) in enumerate(STREAM):
        send(site, alias.address, content=mail(number, author, found), sender=f"b@{domain}")
        settled(site, number + 1)
        newest = Activity.objects.order_by("-pk")[0]
        noted = SenderDomain.objects.filter(alias=alias, domain=newest.sender_domain).first()
        marked.append((noted.domain, noted.is_proven) if noted and not noted.answer else None)

    assert marked == [mark for *_message, mark in STREAM]
    assert set(alias.sender_domains.values_list("domain", "is_proven")) == {m for *_, m in STREAM if m}


def arrives(site: Site, alias: Alias, number: int, author: str, found: str = "none") -> bool:
    before = len(site.sink.arrived)
    send(site, alias.address, content=mail(number, author, found), sender="b@x.test")
    site.postfix.wait_until_idle()
    return len(site.sink.arrived) > before


@pytest.mark.parametrize("hides_replies", [False, True])
def test_the_owners_answers_hold_for_the_next_message(
    alias: Alias, site: Site, settings: Settings, hides_replies: bool
) -> None:
    settings.MAIL_AUTHSERV_IDS = [FRONT]
    alias.edit(hides_replies=hides_replies)
    authors = {name: f"x@{name}" for name in ("mailer.net", "stranger.biz", "other.info", "shop.com")}
    for number, author in enumerate(authors.values()):
        assert arrives(site, alias, number, author)
    by_domain = {sender.domain: sender for sender in alias.sender_domains.select_related("alias")}
    assert set(by_domain) == {"mailer.net", "stranger.biz", "other.info"}

    answer(by_domain["mailer.net"], SenderAnswer.FINE)
    answer(by_domain["stranger.biz"], SenderAnswer.BLOCK)

    taken = [arrives(site, alias, 10 + number, author) for number, author in enumerate(authors.values())]
    # Another address of the blocked domain is refused too; its signer is who counts.
    taken.append(arrives(site, alias, 20, "y@new.stranger.biz"))
    taken.append(arrives(site, alias, 21, "z@third.org", f"dmarc=fail; {dkim('stranger.biz')}"))
    assert taken == [True, False, True, True, False, False]
    assert [sender.domain for sender in alias.sender_domains.unanswered()] == ["other.info"]  # type: ignore[attr-defined]

    answer(by_domain["other.info"], SenderAnswer.ONLY_KNOWN)

    taken = [arrives(site, alias, 30 + number, author) for number, author in enumerate(authors.values())]
    taken.append(arrives(site, alias, 40, "y@never.org"))
    # The website's name alone is no proof if its domain disowns the message.
    taken.append(arrives(site, alias, 41, "forger@shop.com", "dmarc=fail"))
    assert taken == [True, False, False, True, False, False]
    assert not alias.sender_domains.unanswered().exists()  # type: ignore[attr-defined]
    waiting = Contact.objects.of(alias).waiting_for_owner().values_list("address", flat=True)
    assert {"x@other.info", "y@never.org"} <= set(waiting)
    assert figures(alias) == (4 + 3 + 2, 3 + 4)


def test_an_alias_without_a_website_learns_nothing(alice: User, site: Site) -> None:
    alias = issue(alice)

    send(site, alias.address, content=mail(0, "win@stranger.biz"))

    settled(site, 1)
    assert Activity.objects.get().sender_domain == ""
    assert not SenderDomain.objects.exists()
