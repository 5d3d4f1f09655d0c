"""What rules do with mail: what the sender is told, what arrives where, and what is counted."""

import re
from email import message_from_bytes, policy
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from contacts.models import Contact
from domains.models import Domain
from hooks.models import Hook, HookMessage
from mail.delivery.blocks import blocks
from mail.delivery.bounce import count_returned
from mail.delivery.handover import Answer, Message
from mail.delivery.next_hop import Accepted, Pending, Refused
from mail.delivery.report import Report
from mail.delivery.resolve import resolve
from mail.delivery.return_path import read_return_path
from mail.models import Activity, Event, PausedDestination
from rules.models import Rule
from tests.rig.dkim_keys import published_keys
from tests.rig.dkim_verifiers import verified_by_dkimpy
from tests.rig.mail_doors import Hop, Process, take
from tests.rig.replying import OWN, letter
from tests.rig.ruling import condition, rule

pytestmark = pytest.mark.django_db(transaction=True)

EVE = "eve@far.test"
OTHER = "alice.shop@home.test"


@pytest.fixture
def other(alice: User) -> EmailAddress:
    return EmailAddress.objects.create(user=alice, email=OTHER, verified=True)


def message(alias: Alias, subject: str = "Buy spam", number: int = 1, **fields: str) -> Message:
    content = letter(
        alias.address, From=f"Eve <{EVE}>", Subject=subject, Message_ID=f"<{number}@far.test>", **fields
    )
    return Message(EVE, content, "x", "SMTP")


def taken(alias: Alias, hop: Hop, subject: str = "Buy spam", **fields: Any) -> Answer:
    answer = take(message(alias, subject, **fields), resolve(alias.address), hop)
    blocks.write()
    return answer


def arrived(hop: Hop) -> list[str]:
    return [recipient for _sender, recipient, _content in hop.sent]


def read(content: bytes) -> Any:
    return message_from_bytes(content, policy=policy.default)


def figures(alias: Alias) -> tuple[int, int]:
    return Alias.objects.values_list("forwards", "blocks").get(pk=alias.pk)


def applied(made: Rule) -> int:
    made.refresh_from_db()
    return made.applied


def test_a_rule_that_blocks_answers_as_to_somebody_who_is_blocked(
    alias: Alias, alice: User, hop: Hop
) -> None:
    made = rule(alice, blocks=True)

    assert taken(alias, hop) is Answer.UNKNOWN

    assert hop.sent == []
    assert figures(alias) == (0, 1)
    assert Activity.objects.get().event == Event.BLOCK
    assert applied(made) == 1
    assert made.applied_at is not None


def test_a_message_to_which_no_rule_applies_arrives_octet_for_octet(
    alias: Alias, alice: User, hop: Hop
) -> None:
    made = rule(alice, blocks=True)

    assert taken(alias, hop, "Hello") is Answer.DONE

    ((_sender, recipient, content),) = hop.sent
    assert recipient == OWN
    assert content.endswith(message(alias, "Hello").content)
    assert applied(made) == 0


def test_a_rule_that_is_off_does_nothing(alias: Alias, alice: User, hop: Hop) -> None:
    rule(alice, blocks=True).switch(on=False)

    assert not resolve(alias.address).has_rules
    assert taken(alias, hop) is Answer.DONE


def test_other_peoples_rules_are_not_asked(alias: Alias, mallory: User, hop: Hop) -> None:
    rule(mallory, condition("alias", "is", alias.address), blocks=True)

    assert taken(alias, hop) is Answer.DONE
    assert not resolve(alias.address).has_rules


def test_a_rule_sends_mail_to_another_own_address_instead(
    alias: Alias, alice: User, other: EmailAddress, hop: Hop
) -> None:
    made = rule(alice, destinations=[other])

    assert taken(alias, hop) is Answer.DONE
    assert taken(alias, hop, "Hello", number=2) is Answer.DONE

    assert arrived(hop) == [OTHER, OWN]
    assert figures(alias) == (2, 0)
    assert applied(made) == 1
    assert list(Activity.objects.order_by("pk").values_list("destination", flat=True)) == [
        other.pk,
        EmailAddress.objects.get(email=OWN).pk,
    ]


def test_destinations_of_several_rules_are_put_together(
    alias: Alias, alice: User, other: EmailAddress, hop: Hop
) -> None:
    own = EmailAddress.objects.get(email=OWN)
    rule(alice, destinations=[other])
    rule(alice, destinations=[own, other])

    assert taken(alias, hop) is Answer.DONE

    assert arrived(hop) == [OTHER, OWN]


def test_a_rule_whose_destination_was_removed_is_skipped(
    alias: Alias, alice: User, other: EmailAddress, hop: Hop
) -> None:
    made = rule(alice, destinations=[other, EmailAddress.objects.get(email=OWN)], blocks=False)
    other.delete()

    assert taken(alias, hop) is Answer.DONE

    assert arrived(hop) == [OWN]
    assert applied(made) == 0
    assert Rule.objects.in_order().get().lacks_destination


def test_a_rule_whose_destination_is_not_verified_any_more_is_skipped(
    alias: Alias, alice: User, other: EmailAddress, hop: Hop
) -> None:
    made = rule(alice, destinations=[other])
    EmailAddress.objects.filter(pk=other.pk).update(verified=False)

    assert taken(alias, hop) is Answer.DONE

    assert (arrived(hop), applied(made)) == ([OWN], 0)


def test_mail_to_a_paused_destination_of_a_rule_waits(
    alias: Alias, alice: User, other: EmailAddress, hop: Hop
) -> None:
    rule(alice, destinations=[other])
    PausedDestination.objects.create(destination=other)

    assert taken(alias, hop) is Answer.PAUSED

    assert hop.sent == []


def test_a_destination_at_a_domain_that_has_become_ours_is_refused(
    alias: Alias, alice: User, other: EmailAddress, hop: Hop
) -> None:
    EmailAddress.objects.filter(pk=other.pk).update(email=issue(owner=alice).address)
    rule(alice, destinations=[other])

    assert taken(alias, hop) is Answer.REFUSED

    assert hop.sent == []


def test_a_retry_goes_only_to_whom_the_message_is_missing_and_counts_once(
    alias: Alias, alice: User, other: EmailAddress, hop: Hop
) -> None:
    own = EmailAddress.objects.get(email=OWN)
    made = rule(alice, destinations=[own, other], disables=True)
    hop.answers[OTHER] = Pending("away")
    assert taken(alias, hop) is Answer.LATER
    assert (arrived(hop), applied(made)) == ([OWN], 1)
    # Or the rest would be refused with the next try.
    assert Alias.objects.get(pk=alias.pk).enabled

    hop.answers[OTHER] = Accepted()
    assert taken(alias, hop) is Answer.DONE

    assert arrived(hop) == [OWN, OTHER]
    assert figures(alias)[0] == 2
    assert applied(made) == 1
    assert not Alias.objects.get(pk=alias.pk).enabled


def test_a_message_that_all_of_a_rules_destinations_refuse_is_refused(
    alias: Alias, alice: User, other: EmailAddress, hop: Hop
) -> None:
    made = rule(alice, destinations=[other])
    hop.answers[OTHER] = Refused("5.1.1")

    assert taken(alias, hop) is Answer.REFUSED

    assert Activity.objects.get().destination == other
    assert applied(made) == 1


def test_a_rule_disables_the_alias_after_the_message(alias: Alias, alice: User, hop: Hop) -> None:
    hook, _secret = Hook.objects.make(owner=alice, url="https://hooks.test/x", events=["alias.disabled"])
    rule(alice, disables=True)

    assert taken(alias, hop) is Answer.DONE

    assert arrived(hop) == [OWN]
    assert not Alias.objects.get(pk=alias.pk).enabled
    assert HookMessage.objects.get(hook=hook).event == "alias.disabled"


def test_a_rule_blocks_and_disables_at_once(alias: Alias, alice: User, hop: Hop) -> None:
    rule(alice, disables=True, blocks=True)

    assert taken(alias, hop) is Answer.UNKNOWN

    assert hop.sent == []
    assert not Alias.objects.get(pk=alias.pk).enabled
    assert figures(alias) == (0, 1)


def test_a_marked_message_is_signed_and_comes_from_a_reverse_address(
    alias: Alias, alice: User, example_com: Domain, hop: Hop
) -> None:
    """Its author's own signature does not cover the new subject."""
    keys = published_keys(example_com)
    made = rule(alice, subject="[Shop] {{subject}}")

    assert taken(alias, hop, "=?utf-8?q?Gr=C3=BC=C3=9Fe=2C_spam?=") is Answer.DONE

    ((_sender, _recipient, content),) = hop.sent
    eve = Contact.objects.get(alias=alias)
    assert read(content)["Subject"] == "[Shop] Grüße, spam"
    assert eve.reverse_address in read(content)["From"]
    assert all(verified_by_dkimpy(content, keys))
    assert applied(made) == 1


def test_marks_of_several_rules_are_put_before_each_other(alias: Alias, alice: User, hop: Hop) -> None:
    rule(alice, subject="[A] {{subject}}")
    rule(alice, subject="[B] {{subject}} (!)")

    taken(alias, hop)

    assert read(hop.sent[0][2])["Subject"] == "[B] [A] Buy spam (!)"


def test_a_forged_message_keeps_its_author_and_gets_the_mark(
    alias: Alias, alice: User, hop: Hop, settings: Settings
) -> None:
    settings.MAIL_HOSTNAME = "mx.example.com"
    settings.MAIL_AUTHSERV_IDS = ["mx.example.com"]
    rule(alice, subject="[A] {{subject}}")

    taken(alias, hop, Authentication_Results="mx.example.com; dmarc=fail header.from=far.test")

    content = hop.sent[0][2]
    assert read(content)["Subject"] == "[A] Buy spam"
    assert content.endswith(b"\r\n\r\nHello\r\n")


@pytest.mark.parametrize(
    "own",
    [
        "spam =?utf-8?q?x=0D=0ABcc=3A_victim=40far=2Etest?=",
        "spam =?utf-8?q?x=0D=0A=0D=0A<b>body</b>?=",
        "spam =?utf-8?b?DQpCY2M6IHZpY3RpbUBmYXIudGVzdA==?=",
        "spam =?utf-8?q?x=E2=80=A8Bcc=3A_victim=40far=2Etest?=",
        "spam " + "x" * 5000,
        "spam " + "ä" * 900,
        "spam =?utf-8?q?=00=0B=0C=1C?= x",
        "spam {{subject}}{{subject}}",
        "spam =?utf-7?q?+2AA-?= =?unicode-escape?q?=5Cudc00?=",
    ],
)
def test_nothing_in_a_subject_becomes_another_field(alias: Alias, alice: User, hop: Hop, own: str) -> None:
    rule(alice, subject="[A] {{subject}}")
    rule(alice, subject="[B] {{subject}}")

    content = message(alias, own).content
    take(Message(EVE, content, "x", "LMTP", is_queued=True, utf8=True), resolve(alias.address), hop)

    header, _line, body = hop.sent[0][2].partition(b"\r\n\r\n")
    assert body == b"Hello\r\n"
    assert not re.search(rb"(?im)^bcc", header)
    assert len(re.findall(rb"(?im)^subject:", header)) == 1
    assert max(map(len, header.split(b"\r\n"))) <= 998
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\0", header)


def test_a_message_without_a_subject_gets_one(alias: Alias, alice: User, hop: Hop) -> None:
    rule(alice, condition("sender", "is", EVE), subject="[A] {{subject}}")
    content = message(alias).content.replace(b"Subject: Buy spam\r\n", b"")

    take(Message(EVE, content, "x", "SMTP"), resolve(alias.address), hop)

    assert read(hop.sent[0][2])["Subject"] == "[A]"


def test_of_two_subjects_one_is_left(alias: Alias, alice: User, hop: Hop) -> None:
    rule(alice, subject="[A] {{subject}}")
    content = message(alias).content.replace(b"Subject:", b"Subject: first\r\nSubject:")

    take(Message(EVE, content, "x", "SMTP"), resolve(alias.address), hop)

    assert read(hop.sent[0][2]).get_all("Subject") == ["[A] first"]


def test_a_bounce_from_a_rules_destination_is_counted_there(
    alias: Alias, alice: User, other: EmailAddress, hop: Hop
) -> None:

    rule(alice, destinations=[other])
    taken(alias, hop)
    local_part, _at, domain = hop.sent[0][0].rpartition("@")
    tag = read_return_path(local_part, domain, timezone.now())
    assert tag is not None

    count_returned(tag, Report("5.1.1", "no such user"))

    assert Activity.objects.filter(event=Event.BOUNCE, destination=other).count() == 1


def test_aliases_of_different_owners_are_judged_by_their_own(
    alias: Alias, alice: User, example_com: Domain, mallory: User, hop: Hop
) -> None:
    example_com.grant(mallory)
    rule(mallory, blocks=True)
    theirs = issue(owner=mallory)

    with Process(hop) as process:
        incoming = message(alias)
        assert process.take(incoming, resolve(alias.address)) is Answer.DONE
        assert process.take(incoming, resolve(theirs.address)) is Answer.UNKNOWN
    blocks.write()

    assert arrived(hop) == [OWN]
    assert (figures(alias), figures(theirs)) == ((1, 0), (0, 1))


def test_a_rule_that_is_the_last_one_ends_it(alias: Alias, alice: User, hop: Hop) -> None:
    rule(alice, subject="[A] {{subject}}", stops=True)
    blocking = rule(alice, blocks=True)

    assert taken(alias, hop) is Answer.DONE

    assert applied(blocking) == 0
