"""addy.io's `alias+user=domain@…`: from the alias's owner it goes out, from everybody else it comes in."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email import message_from_bytes

import pytest
from allauth.account.models import EmailAddress
from pytest_django import DjangoAssertNumQueries, Settings

from accounts.models import User
from aliases.models import Admits, Alias
from contacts.models import Contact
from mail.delivery.resolve import Kind, our_domains, resolve
from mail.models import Activity, Event
from tests.rig.mail_doors import Hop, running_doors
from tests.rig.nameserver import FAILS, SILENT, Nameserver
from tests.rig.replying import BOB, DOMAIN, OWN, Answer, Lmtp, Signer, figures, letter, preferences

pytestmark = pytest.mark.django_db(transaction=True)

Send = Callable[..., Answer]
ACCEPTED = (250, b"2.0.0 Accepted")
CAROL = "carol@far.test"


def tagged(alias: Alias, tag: str = "carol=far.test") -> str:
    local_part, _at, domain = alias.address.partition("@")
    return f"{local_part}+{tag}@{domain}"


@pytest.mark.parametrize("is_hiding", [True, False])
def test_what_the_owner_writes_goes_out_as_the_alias(
    alias: Alias, send: Send, hop: Hop, is_hiding: bool
) -> None:
    Alias.objects.filter(pk=alias.pk).update(hides_replies=is_hiding)
    own = tagged(alias, OWN.replace("@", "="))
    content = letter(
        tagged(alias), Cc=f"Me <{OWN}>, {own}, {alias.address}, Dan <{tagged(alias, 'dan=far.test')}>"
    )

    assert [send(tagged(alias), content) for _again in range(2)] == [ACCEPTED] * 2

    ((sender, recipient, sent),) = hop.sent
    found = message_from_bytes(sent)
    assert (recipient, found["From"], found["To"], found["Cc"]) == (
        CAROL,
        alias.address,
        CAROL,
        "dan@far.test",
    )
    assert sender.startswith("b.")
    assert b"home.test" not in sent
    contact = Contact.objects.get()
    assert (contact.address, contact.waiting) == (CAROL, False)
    assert figures(contact) == (1, 1)
    assert Activity.objects.get().event == Event.REPLY


def test_a_signature_proves_it_if_it_covers_the_very_address(
    alias: Alias, dns: Nameserver, send: Send, hop: Hop
) -> None:
    dns.records.pop(DOMAIN)
    signer = Signer(dns)
    other = signer.sign(letter(tagged(alias, "dan=far.test")))
    content = signer.sign(letter(tagged(alias).upper(), Message_ID="<2@laptop.home.test>"))

    assert send(tagged(alias), other, OWN, "lmtp") == ACCEPTED
    assert [recipient for _sender, recipient, _content in hop.sent] == [OWN]
    assert send(tagged(alias).upper(), content, OWN, "lmtp") == ACCEPTED
    assert [recipient for _sender, recipient, _content in hop.sent] == [OWN, CAROL]


@pytest.mark.parametrize("dns_says", ['TXT "v=spf1 ip4:192.0.2.1 -all"', FAILS])
@pytest.mark.parametrize("door", ["smtp", "lmtp"])
def test_what_nobody_has_proven_comes_in_as_with_any_tag(
    alias: Alias, dns: Nameserver, send: Send, hop: Hop, door: str, dns_says: str
) -> None:
    """Also what claims to be the owner's: neither words nor codes say whose the alias is."""
    dns.records[DOMAIN] = FAILS if dns_says == FAILS else [dns_says]
    authors = (OWN, "other@home.test", "eve@evil.test")

    for number, author in enumerate(authors):
        told = [
            send(
                tagged(alias, tag),
                letter(tagged(alias, tag), From=author, Message_ID=f"<{number}.{tag}@x.test>"),
                author,
                door,
            )
            for tag in ("carol=far.test", "carol")
        ]
        assert told == [ACCEPTED] * 2, author

    assert [recipient for _sender, recipient, _content in hop.sent] == [OWN] * 6
    assert not Contact.objects.filter(address=CAROL).exists()


def hand_over(place: tuple[str, int], content: bytes, recipients: list[str]) -> list[Answer]:
    """One message of Eve's for several recipients."""
    client = Lmtp(*place, timeout=20)
    try:
        client.ehlo()
        client.mail("eve@evil.test")
        assert [client.rcpt(each)[0] for each in recipients] == [250] * len(recipients)
        return [client.data(content), *(client.getreply() for _other in recipients[1:])]
    finally:
        client.close()


def signed(selectors: list[str], content: bytes) -> bytes:
    field = "DKIM-Signature: v=1; a=rsa-sha256; d=evil.test; s={}; h=from; bh=AAAA; b=AAAA\r\n"
    return "".join(map(field.format, selectors)).encode() + content


def test_a_strangers_signatures_cost_little(
    alias: Alias, dns: Nameserver, doors: dict[str, tuple[str, int]], hop: Hop
) -> None:
    """To verify one takes seconds of a large message: two are, once for all recipients."""
    recipients = [tagged(alias, f"{name}=far.test") for name in ("carol", "dan", "erin")]
    content = signed(["k1", "k2", "k3"], letter(", ".join(recipients), From="eve@evil.test"))

    assert hand_over(doors["lmtp"], content, recipients) == [ACCEPTED] * 3
    assert [recipient for _sender, recipient, _content in hop.sent] == [OWN]
    assert [name.partition(".")[0] for name, _kind in dns.asked] == ["k1", "k2"]


def test_a_dns_that_does_not_answer_is_asked_once_for_all_recipients(
    alias: Alias, dns: Nameserver, doors: dict[str, tuple[str, int]]
) -> None:
    dns.records["k1._domainkey.evil.test"] = FAILS
    recipients = [tagged(alias, f"{name}=far.test") for name in ("carol", "dan", "erin")]
    counts = []

    for number in (1, 3):
        dns.asked.clear()
        content = letter(alias.address, From="eve@evil.test", Message_ID=f"<{number}@evil.test>")
        hand_over(doors["lmtp"], signed(["k1"], content), recipients[:number])
        counts.append(len(dns.asked))

    assert counts[0] == counts[1] > 0


def test_mail_to_others_need_not_wait_for_strangers_proofs(
    alias: Alias, dns: Nameserver, hop: Hop, settings: Settings
) -> None:
    settings.MAIL_HOSTNAME, settings.MAIL_MESSAGES_AT_ONCE = "mx.example.com", 1
    dns.records["k1._domainkey.evil.test"] = SILENT
    content = signed(["k1"], letter(alias.address, From="eve@evil.test"))

    with running_doors(hop, "lmtp") as places, ThreadPoolExecutor(1) as others:
        waiting = others.submit(hand_over, places["lmtp"], content, [tagged(alias)])
        while not dns.asked:
            time.sleep(0.01)
        assert hand_over(places["lmtp"], letter(alias.address), [alias.address]) == [ACCEPTED]
        assert not waiting.done()
        assert waiting.result() == [ACCEPTED]


def test_a_signature_alone_does_not_prove_a_large_message(
    alias: Alias, dns: Nameserver, send: Send, hop: Hop
) -> None:
    dns.records.pop(DOMAIN)
    content = Signer(dns).sign(letter(tagged(alias), body=f"{'x' * 70}\r\n" * 16_000))

    assert send(tagged(alias), content, OWN, "lmtp") == ACCEPTED
    assert [recipient for _sender, recipient, _content in hop.sent] == [OWN]


def test_addresses_that_take_no_mail_stay_unknown(alias: Alias, send: Send, hop: Hop) -> None:
    disabled = tagged(alias)
    alias.disable()

    for address in (disabled, "nobody+carol=far.test@example.com", "nobody@example.com"):
        assert send(address, letter(address)) == (550, b"5.1.1 User unknown")
    assert hop.sent == []


def test_whom_the_owner_has_blocked_stays_unknown_but_can_be_written_to(
    alias: Alias, bob: Contact, send: Send, hop: Hop
) -> None:
    bob.block()
    address = tagged(alias, "bob=sender.test")

    assert send(address, letter(address, From=BOB), BOB) == (550, b"5.1.1 User unknown")
    assert hop.sent == []
    assert send(address, letter(address)) == ACCEPTED
    assert [recipient for _sender, recipient, _content in hop.sent] == [BOB]
    assert figures(bob) == (1, 1)


def test_an_alias_that_takes_only_known_peoples_mail_lets_its_owner_write(
    alias: Alias, send: Send, hop: Hop
) -> None:
    Alias.objects.filter(pk=alias.pk).update(admits=Admits.KNOWN)

    assert send(tagged(alias), letter(tagged(alias))) == ACCEPTED
    assert [recipient for _sender, recipient, _content in hop.sent] == [CAROL]


TAGS = {
    "a reverse address": lambda contact: contact.reverse_address.replace("@", "="),
    "a reverse address with a tag": lambda contact: contact.reverse_address.replace("@", "+x="),
    "the alias itself": lambda contact: contact.alias.address.replace("@", "="),
    "the alias with a tag of its own": lambda contact: tagged(contact.alias).replace("@", "="),
    "no user": lambda contact: "=far.test",
    "no domain": lambda contact: "carol=",
    "no dot in the domain": lambda contact: "carol=far",
    "an address literal": lambda contact: "carol=127.0.0.1",
    "an empty label": lambda contact: "carol=far..test",
    "an @ too": lambda contact: "carol@far.test=far.test",
    "too long": lambda contact: f"{'c' * 50}=far.test",
    "not ASCII": lambda contact: "zoë=far.test",
}


@pytest.mark.parametrize("kind", TAGS)
def test_what_is_no_correspondents_address_is_any_other_tag(
    alias: Alias, bob: Contact, send: Send, hop: Hop, kind: str
) -> None:
    address = tagged(alias, TAGS[kind](bob))

    found = resolve(address)
    assert (found.kind, found.alias_id, found.correspondent) == (Kind.FORWARD, alias.pk, "")
    if address.isascii() and address.count("@") == 1 and ".." not in address:
        assert send(address, letter(alias.address)) == ACCEPTED
        assert [recipient for _sender, recipient, _content in hop.sent] == [OWN]


@pytest.mark.parametrize(
    ("tag", "correspondent"),
    [
        ("a=b=far.test", "a=b@far.test"),
        ("a+b=far.test", "a+b@far.test"),
        ("A.B=FAR.test", "a.b@far.test"),
        ("o'hara=xn--bcher-kva.test", "o'hara@xn--bcher-kva.test"),
    ],
)
def test_the_last_sign_stands_for_the_at(alias: Alias, tag: str, correspondent: str) -> None:
    found = resolve(tagged(alias, tag))

    assert found.correspondent == correspondent
    assert found.as_written == tagged(alias, tag).lower()


def test_a_quoted_local_part_names_nobody(alias: Alias) -> None:
    local_part, _at, domain = tagged(alias).partition("@")

    assert resolve(f'"{local_part}"@{domain}').correspondent == ""
    assert resolve(f'"{local_part}"@{domain}').kind is Kind.FORWARD


def test_a_report_or_automatic_answer_comes_in(alias: Alias, send: Send, hop: Hop) -> None:
    assert send(tagged(alias), letter(tagged(alias)), "") == ACCEPTED

    assert [(sender, recipient) for sender, recipient, _content in hop.sent] == [("", OWN)]


def test_the_owner_hears_what_cannot_go_out(alias: Alias, send: Send, hop: Hop, settings: Settings) -> None:
    content = letter(tagged(alias), Subject=f"From {OWN}")
    code, said = send(tagged(alias), content)
    assert (code, b"names your own address" in said) == (550, True)

    content = letter(tagged(alias), Cc="dave@elsewhere.test")
    assert send(tagged(alias), content)[0] == 550

    settings.CONTACTS_PER_DAY = 0
    assert send(tagged(alias, "dan=far.test"), letter(tagged(alias, "dan=far.test")))[0] == 452
    settings.CONTACTS_PER_DAY, settings.REPLIES_PER_DAY = 5, 0
    assert send(tagged(alias), letter(tagged(alias)))[0] == 450
    assert hop.sent == []
    assert not Activity.objects.exists()


def test_strict_replies_come_from_the_aliass_own_destinations_alone(
    alice: User, alias: Alias, send: Send, hop: Hop
) -> None:
    other = "other@home.test"
    EmailAddress.objects.create(user=alice, email=other, verified=True)
    preferences(alice, strict_replies=True)

    code, said = send(tagged(alias), letter(tagged(alias), From=other), other)
    assert (code, b"not an address of yours that may reply" in said) == (550, True)
    assert send(tagged(alias), letter(tagged(alias))) == ACCEPTED
    assert [recipient for _sender, recipient, _content in hop.sent] == [CAROL]


def test_a_report_never_goes_to_whoever_is_named_as_the_sender(
    alice: User, alias: Alias, dns: Nameserver, send: Send, hop: Hop
) -> None:
    other = "other@home.test"
    EmailAddress.objects.create(user=alice, email=other, verified=True)
    preferences(alice, strict_replies=True)
    signed = Signer(dns).sign(letter(tagged(alias), From=other))

    assert send(tagged(alias), signed, "victim@elsewhere.test", "lmtp") == ACCEPTED
    assert [recipient for _sender, recipient, _content in hop.sent] == [OWN]


def test_a_field_of_the_server_in_front_does_not_go_on(alias: Alias, send: Send, hop: Hop) -> None:
    """It may say under which name a stranger has signed in there."""
    Alias.objects.filter(pk=alias.pk).update(hides_replies=False)
    field = b"X-Anonmail-Client: 1 192.0.2.1 eve@evil.test\r\n\tfolded\r\n"
    rest = letter(tagged(alias), From="eve@evil.test", body="X-Anonmail-Client: 2\r\n")

    send(tagged(alias), field + rest, "eve@evil.test", "lmtp")

    ((_sender, recipient, content),) = hop.sent
    assert recipient == OWN
    assert content.endswith(rest)
    assert b"192.0.2.1" not in content


def test_no_tag_takes_another_statement_to_resolve(
    alias: Alias, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    our_domains.shared()

    for address in (alias.address, tagged(alias, "x"), tagged(alias)):
        with django_assert_num_queries(1):
            assert resolve(address).kind is Kind.FORWARD
