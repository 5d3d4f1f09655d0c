"""What a sender hears from a real Postfix, what arrives at the far end, and that nothing else does.

Each scenario runs in both designs: Anonmail behind Postfix's queue (LMTP) alone, and as its milter too.
"""

from collections.abc import Callable

import pytest
from django.test import Client

from accounts.models import User
from aliases.models import Alias
from domains.models import Domain
from mail.delivery.blocks import blocks
from mail.models import Activity, Bounce, PausedDestination
from tests.postfix.conftest import Site
from tests.postfix.sender import (
    ACCEPTED,
    EVE,
    MESSAGE,
    figures,
    issue,
    send,
    settled,
    stranger,
    unknown,
)


def test_an_enabled_alias_gets_its_mail(alice: User, site: Site) -> None:
    alias = issue(alice)

    told = send(site, alias.address)

    assert told.codes == ["250"]
    assert [answer[:9] for answer in told.data] == [ACCEPTED]
    (arrived,) = settled(site, 1)
    assert arrived.recipient == "alice@home.test"
    assert arrived.sender.startswith("b.")
    assert arrived.sender.endswith("@example.com")
    assert arrived.content.endswith(MESSAGE)
    assert f"X-Anonmail-Alias: {alias.address}\r\n".encode() in arrived.content
    assert figures(alias) == (1, 0)


def test_every_switch_takes_effect_for_the_next_message_of_the_same_connection(
    alice: User, site: Site
) -> None:
    alias = issue(alice)
    deeds: list[Callable[[], object]] = [
        lambda: None,
        alias.disable,
        alias.enable,
        alias.soft_delete,
        alias.restore,
        alice.deactivate,
        alice.activate,
    ]
    heard = []

    with stranger(site) as sender:
        for number, deed in enumerate(deeds):
            deed()
            content = MESSAGE.replace(b"Hello", b"Hello %d" % number)
            heard += sender.send(alias.address, content=content).recipients.values()
            site.postfix.wait_until_idle()

    assert [answer[:3] for answer in heard] == ["250", "550", "250", "550", "250", "550", "250"]
    assert [message.content[-3:-2] for message in settled(site, 4)] == [b"0", b"2", b"4", b"6"]
    assert figures(alias) == (4, 3)


def test_an_alias_that_is_disabled_after_its_recipient_was_accepted_forwards_nothing(
    alice: User, site: Site
) -> None:
    alias = issue(alice)

    with stranger(site) as sender:
        sender.say(f"MAIL FROM:<{EVE}>".encode())
        accepted = sender.say(f"RCPT TO:<{alias.address}>".encode())
        alias.disable()
        told = sender.data(MESSAGE)

    # It is dropped: a report would go to whoever is named as the sender.
    assert (accepted[:3], told[:9]) == ("250", ACCEPTED)
    assert settled(site, 0) == []
    assert figures(alias) == (0, 1)


def test_all_that_takes_no_mail_is_told_the_same(alice: User, bob: User, site: Site) -> None:
    disabled, deleted, stripped, orphaned = issue(alice), issue(alice), issue(alice), issue(bob)
    disabled.disable()
    deleted.soft_delete()
    stripped.soft_delete()
    Alias.objects.filter(pk=stripped.pk).strip()
    bob.deactivate()
    recipients = [alias.address for alias in (disabled, deleted, stripped, orphaned)]
    recipients += ["nobody@example.com", "alice@example.com", "b.nobody@example.com"]

    told = send(site, *recipients)

    assert told.recipients == {recipient: unknown(recipient) for recipient in recipients}
    assert told.data == []
    assert settled(site, 0) == []
    assert [figures(alias) for alias in (disabled, deleted, orphaned)] == [(0, 1)] * 3
    assert Activity.objects.filter(event="block", sender=EVE).count() == 4


@pytest.mark.parametrize("write", [str.upper, lambda text: text.replace("@", "+Shop.x@")])
def test_case_and_tag_do_not_matter(alice: User, site: Site, write: Callable[[str], str]) -> None:
    alias = issue(alice)

    assert send(site, write(alias.address)).codes == ["250"]

    (arrived,) = settled(site, 1)
    assert arrived.recipient == "alice@home.test"  # no tag is carried over
    assert f"X-Anonmail-Alias: {alias.address}\r\n".encode() in arrived.content


def test_a_domain_may_come_in_either_form(root: User, site: Site) -> None:
    Domain.objects.create(name="xn--bcher-kva.example", anonmail_enabled=True)
    local_part = issue(root, "root@home.test").address.partition("@")[0]
    domains = ("xn--bcher-kva.example", "bücher.example", "BÜCHER.example")

    answers = [send(site, f"{local_part}@{domain}", options="SMTPUTF8").codes for domain in domains]
    strangers = [f"nobody@{domain}" for domain in domains]
    told = send(site, *strangers, options="SMTPUTF8")

    assert answers == [["250"]] * 3
    assert told.recipients == {recipient: unknown(recipient) for recipient in strangers}
    for message in settled(site, 3):
        assert message.recipient == "root@home.test"
        assert message.sender.endswith("@xn--bcher-kva.example")


def test_owners_in_one_message_do_not_see_each_other(alice: User, bob: User, site: Site) -> None:
    hers, his, disabled = issue(alice), issue(bob), issue(bob)
    disabled.disable()
    recipients = [hers.address, disabled.address, "nobody@example.com", his.address]

    told = send(site, *recipients)

    assert told.codes == ["250", "550", "550", "250"]
    assert [answer[:9] for answer in told.data] == [ACCEPTED]
    arrived = {message.recipient: message for message in settled(site, 2)}
    assert set(arrived) == {"alice@home.test", "bob@home.test"}
    for recipient, own, other in (("alice@home.test", hers, his), ("bob@home.test", his, hers)):
        content = arrived[recipient].content
        assert content.count(b"X-Anonmail-Alias:") == 1
        assert f"X-Anonmail-Alias: {own.address}\r\n".encode() in content
        for stranger_of in (other.address, disabled.address, "nobody@", *(arrived.keys() - {recipient})):
            assert stranger_of.encode() not in content
    assert len({message.sender for message in arrived.values()}) == 2
    assert [figures(alias) for alias in (hers, his, disabled)] == [(1, 0), (1, 0), (0, 1)]


def test_one_alias_twice_in_a_message_is_one_delivery(alice: User, site: Site) -> None:
    alias = issue(alice)

    told = send(site, alias.address, alias.address.replace("@", "+x@"), alias.address.upper())

    assert told.codes == ["250"] * 3
    settled(site, 1)
    assert figures(alias) == (1, 0)


def test_the_same_octets_sent_again_at_once_are_another_message(alice: User, site: Site) -> None:
    alias = issue(alice)

    with stranger(site) as sender:
        answers = [sender.send(alias.address).data[0][:9] for _ in range(3)]

    assert answers == [ACCEPTED] * 3
    settled(site, 3)
    assert figures(alias) == (3, 0)


def test_every_destination_gets_a_copy_of_its_own(alice: User, site: Site) -> None:
    alias = issue(alice, "alice@home.test", "alice@work.test", "assistant@office.test")

    assert send(site, alias.address).codes == ["250"]

    arrived = settled(site, 3)
    assert sorted(message.recipient for message in arrived) == [
        "alice@home.test",
        "alice@work.test",
        "assistant@office.test",
    ]
    assert len({message.sender for message in arrived}) == 3
    for message in arrived:
        others = {other.recipient for other in arrived} - {message.recipient}
        assert not any(other.encode() in message.content for other in others)
    assert figures(alias) == (3, 0)


def test_the_null_sender_stays_null(alice: User, site: Site) -> None:
    alias = issue(alice)

    assert send(site, alias.address, sender="").codes == ["250"]

    (arrived,) = settled(site, 1)
    assert arrived.sender == ""


def test_a_destination_that_is_full_for_now_gets_its_mail_later_and_the_others_at_once(
    alice: User, site: Site
) -> None:
    alias = issue(alice, "alice@home.test", "alice@work.test")
    site.sink.refusals["alice@home.test"] = "452 4.2.2 Mailbox full"

    assert [answer[:9] for answer in send(site, alias.address).data] == [ACCEPTED]
    assert [message.recipient for message in site.sink.wait_for(1)] == ["alice@work.test"]
    site.sink.refusals.clear()
    site.postfix.wait_until_idle(flush=True)

    assert [message.recipient for message in settled(site, 2)] == ["alice@work.test", "alice@home.test"]
    assert figures(alias) == (2, 0)
    assert not Bounce.objects.exists()


def test_a_next_hop_that_refuses_for_now_gets_each_message_once(alice: User, direct_site: Site) -> None:
    site = direct_site
    alias = issue(alice, "alice@work.test", "alice@home.test")
    site.sink.refusals["alice@home.test"] = "452 4.2.2 Mailbox full"

    told = send(site, alias.address)

    site.sink.wait_for(1)
    site.sink.refusals.clear()
    site.postfix.wait_until_idle(flush=True)
    assert [answer[:9] for answer in told.data] == [ACCEPTED]
    assert [message.recipient for message in settled(site, 2)] == ["alice@work.test", "alice@home.test"]
    assert figures(alias) == (2, 0)


def test_mail_that_comes_back_to_its_alias_ends_there(alice: User, site: Site) -> None:
    alias, other = issue(alice), issue(alice)
    send(site, alias.address)
    (once,) = settled(site, 1)

    told = send(site, alias.address, content=once.content)

    assert told.codes == ["250"]
    # It is dropped: a report would go to whoever is named as the sender.
    assert [each[:9] for each in told.data] == [ACCEPTED]
    settled(site, 1)
    assert figures(alias) == (1, 1)
    send(site, other.address, content=once.content)
    assert settled(site, 2)[-1].recipient == "alice@home.test"


@pytest.mark.parametrize("hops", [31, 120])
def test_mail_that_went_through_too_many_hops_ends(alice: User, site: Site, hops: int) -> None:
    alias = issue(alice)
    content = b"Received: from a.test by b.test; Tue, 24 Nov 2026 10:00:00 +0000\r\n" * hops + MESSAGE

    send(site, alias.address, content=content, sender="")

    is_over = hops > 105  # a hundred, and what stands in front of us adds
    settled(site, 0 if is_over else 1)
    assert figures(alias)[0] == (0 if is_over else 1)


ROLES = (
    "postmaster@example.com",
    "Abuse@Example.COM",
    "postmaster+x@example.com",
    "postmaster@mx.example.com",
    "abuse@mx.example.com",
    "postmaster",
)


def test_roles_reach_a_person(example_com: Domain, site: Site) -> None:
    answers = [send(site, role).codes for role in ROLES]

    assert answers == [["250"]] * len(ROLES)
    arrived = settled(site, len(ROLES))
    # Under the null sender: no bounce of the person's reaches anybody.
    assert {(message.sender, message.recipient) for message in arrived} == {("", "boss@boss.test")}
    assert all(message.content.endswith(MESSAGE) for message in arrived)


def test_the_hosts_own_name_has_no_other_mailbox(example_com: Domain, site: Site) -> None:
    told = send(site, "root@mx.example.com", "abuse", "nobody")

    assert told.recipients["root@mx.example.com"] == unknown("root@mx.example.com")
    assert told.codes == ["550", "504", "504"]
    assert settled(site, 0) == []


def test_a_bounce_address_takes_the_null_sender_alone(alice: User, site: Site) -> None:
    alias = issue(alice)
    send(site, alias.address)
    (arrived,) = settled(site, 1)
    local_part, _at, domain = arrived.sender.partition("@")
    forged = f"b.{'a' if local_part[2] != 'a' else 'b'}{local_part[3:]}@{domain}"

    told = send(site, arrived.sender)
    null = send(site, forged, arrived.sender, sender="")

    assert told.recipients == {
        arrived.sender: f"550 5.7.1 <{arrived.sender}>: Recipient address rejected: "
        "This address accepts only bounces"
    }
    assert null.recipients[forged] == unknown(forged)
    assert null.recipients[arrived.sender].startswith("250")
    settled(site, 1)
    # An ordinary message under the null sender is what old servers send for a refusal: it leaves a trace.
    assert not Bounce.objects.filter(is_no_mailbox=True).exists()
    assert not PausedDestination.objects.exists()


def test_a_stranger_cannot_send_on_through_us(alice: User, site: Site) -> None:
    told = send(
        site, "bob@elsewhere.test", "bob%elsewhere.test@mx.example.com", "@mx.example.com:bob@elsewhere.test"
    )
    subdomain = send(site, "bob@sub.example.com", '"bob@elsewhere.test"@example.com')

    assert told.recipients["bob@elsewhere.test"].startswith("554 5.7.1")
    assert {code[0] for code in told.codes + subdomain.codes} == {"5"}
    assert settled(site, 0) == []


def test_a_message_over_the_limit_is_refused(alice: User, site: Site) -> None:
    alias = issue(alice)

    with stranger(site) as sender:
        announced = sender.say(f"MAIL FROM:<{EVE}> SIZE=30000000".encode())
        sender.say(b"RSET")
        told = sender.send(alias.address, content=MESSAGE + (b"x" * 998 + b"\r\n") * 27_000)

    assert announced.startswith("552 5.3.4")
    assert told.data[0].startswith("552 5.3.4")
    assert settled(site, 0) == []
    assert figures(alias) == (0, 0)


def test_nobody_may_ask_or_wish_for_reports(alice: User, site: Site) -> None:
    alias = issue(alice)

    with stranger(site) as sender:
        offered = {line[4:].split(" ")[0] for line in sender.greeting.splitlines()}
        answers = [
            sender.say(command.encode())
            for command in (f"VRFY {alias.address}", f"EXPN {alias.address}", "ETRN example.com")
        ]

    assert not {"VRFY", "DSN", "ETRN", "AUTH"} & offered
    assert {answer[0] for answer in answers} == {"5"}


def test_the_owner_sees_what_was_forwarded_blocked_and_bounced(
    alice: User, site: Site, client: Client
) -> None:
    alias = issue(alice)
    send(site, alias.address)
    settled(site, 1)
    site.sink.refusals["alice@home.test"] = "550 5.1.1 No such user"
    send(site, alias.address, content=MESSAGE.replace(b"Hello", b"Hello again"))
    settled(site, 1)
    alias.disable()
    send(site, alias.address)
    blocks.write()
    client.force_login(alice)

    text = client.get(f"/aliases/{alias.pk}/").content.decode()

    # The second one went on, and bounced further down.
    events = sorted(Activity.objects.values_list("event", flat=True))
    assert events == ["block", "bounce", "forward", "forward"]
    assert all(word in text for word in ("forwarded", "blocked", "bounced", EVE))
