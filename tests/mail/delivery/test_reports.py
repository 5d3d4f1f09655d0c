"""What comes back to a return path: each form of report that there is, and what is none."""

import base64
import quopri
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
import time_machine
from allauth.account.models import EmailAddress
from django.core import mail
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from domains.models import Domain
from mail.delivery import faults
from mail.delivery.bounce import REPORTS_PER_DAY, count_returned, note_bounce, read_bounce, resume
from mail.delivery.handover import Answer, Message
from mail.delivery.next_hop import Pending, Refused
from mail.delivery.report import Report, read_report
from mail.delivery.resolve import resolve
from mail.delivery.return_path import _base32, read_return_path, return_path
from mail.models import Activity, Bounce, PausedDestination, SiteFault
from tests.rig.mail_doors import Hop, take

FAILED = """\
Reporting-MTA: dns; mx.home.test

Final-Recipient: rfc822; alice@home.test
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 Nobody of that name lives here
"""
WORDS = "550 5.1.1 Nobody of that name lives here"


def report(fields: str, kind: str = "message/delivery-status", encoding: str = "7bit") -> bytes:
    """A report with these fields in its second part, encoded as it says."""
    octets = fields.encode()
    if encoding == "base64":
        octets = base64.encodebytes(octets)
    elif encoding == "quoted-printable":
        octets = quopri.encodestring(octets)
    head = f"--x\nContent-Type: {kind}\nContent-Transfer-Encoding: {encoding}\n\n".encode()
    return (
        b"From: Mail System <MAILER-DAEMON@mx.home.test>\nSubject: Returned mail\nMIME-Version: 1.0\n"
        b'Content-Type: multipart/report; report-type=delivery-status; boundary="x"\n\n'
        b"--x\nContent-Type: text/plain\n\nIt did not go.\n" + head + octets + b"\n--x--\n"
    )


def daemon(text: str, subject: str = "failure notice", more: str = "") -> bytes:
    """A message of a mail server's in its own words."""
    return f"From: MAILER-DAEMON@mx.home.test\nSubject: {subject}\n{more}\n{text}\n".encode()


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (report(FAILED), Report("5.1.1", WORDS)),
        (report(FAILED).replace(b"\n", b"\r\n"), Report("5.1.1", WORDS)),
        # RFC 6533
        (report(FAILED, "message/global-delivery-status"), Report("5.1.1", WORDS)),
        (report(FAILED, encoding="base64"), Report("5.1.1", WORDS)),
        (report(FAILED, "message/global-delivery-status", "quoted-printable"), Report("5.1.1", WORDS)),
        # Says that it is encoded, and is not.
        (report(FAILED).replace(b"Encoding: 7bit", b"Encoding: base64"), Report("5.1.1", WORDS)),
        (report(FAILED.replace("failed", "failed (no mailbox)")), Report("5.1.1", WORDS)),
        (report(FAILED.replace("failed", "(sadly) Failed")), Report("5.1.1", WORDS)),
        (report(FAILED.replace("Action: failed\n", "")), Report("5.1.1", WORDS)),
        (report(FAILED.replace("5.1.1\n", "5.1.1 (no such user)\n", 1)), Report("5.1.1", WORDS)),
        # Folded as it should be, and as it should not.
        (report(FAILED.replace("Nobody of", "Nobody\n of")), Report("5.1.1", WORDS)),
        (report(FAILED.replace("Nobody of", "Nobody\nof")), Report("5.1.1", WORDS)),
        (report("Diagnostic-Code: smtp; 550 5.1.1 Nobody\nsays http://x.test\nAction: failed\n"),
         Report("5.1.1", "550 5.1.1 Nobody says http://x.test")),
        (report(FAILED.replace("Action", "\nAction")), Report("5.1.1", WORDS)),
        (report(FAILED.replace("\n\nFinal", "\nFinal")), Report("5.1.1", WORDS)),
        # The truth is in what is quoted, at the place that RFC 2034 gives it.
        (report(FAILED.replace("Status: 5.1.1", "Status: 5.0.0")), Report("5.1.1", WORDS)),
        (report(FAILED.replace("Status: 5.1.1\n", "")), Report("5.1.1", WORDS)),
        (report(FAILED.replace("Status: 5.1.1", "Status: 5.0.0").replace("550 5.1.1", "550 [203.5.1.77]")),
         Report("5.0.0", "550 [203.5.1.77] Nobody of that name lives here")),
        (report(FAILED.replace("Status: 5.1.1", "Status: 5.2.2")), Report("5.2.2", WORDS)),
        (report(FAILED.replace("Status: 5.1.1", "Status: 4.4.7")), Report("4.4.7", WORDS)),
        # The second of two recipients.
        (report(FAILED.replace("failed", "relayed") + "\n" + FAILED.replace("5.1.1\n", "5.2.1\n", 1)),
         Report("5.2.1", WORDS)),
        # No report at all, in the ways of several servers.
        (daemon("I tried.\n\n<alice@home.test>:\nSorry, no mailbox here. (#5.1.1)\n\n--- copy follows.\n"),
         Report("", "Sorry, no mailbox here. (#5.1.1) --- copy follows.")),
        (daemon("A message could not be delivered:\n\n  alice@home.test\n    user is gone",
                more="X-Failed-Recipients: alice@home.test\nAuto-Submitted: auto-replied\n"),
         Report("", "A message could not be delivered: alice@home.test user is gone")),
        (daemon("<p>Full: <b>try</b> later</p>", more="MIME-Version: 1.0\nContent-Type: text/html\n"),
         Report("", "Full: try later")),
        (daemon("=4Eo", more="Content-Transfer-Encoding: quoted-printable\n"), Report("", "No")),
        (daemon("x", more='Content-Type: text/plain; charset="no-such"\n'), Report("", "x")),
        (daemon("a\x00b\x1b[31m\u202e\u200bc"), Report("", "a b [31m c")),
        (daemon("long " * 200), Report("", ("long " * 200)[:300])),
        (b"", Report("", "")),
    ],
)  # fmt: skip
def test_a_failure_is_read_in_each_form(octets: bytes, expected: Report) -> None:
    assert read_report(octets) == expected


OTHER = report(FAILED).replace(b'"x"', b'"y"').replace(b"--x", b"--y")
RETURNED = b"\n--x\nContent-Type: message/rfc822\n\n"


@pytest.mark.parametrize(
    "octets",
    [
        report(FAILED.replace("failed", "delayed")),
        report(FAILED.replace("failed", "Delivered (to a mailbox)").replace("5.1.1", "2.1.5")),
        report(FAILED.replace("failed", "relayed")),
        # What came back holds a report that is not about our mail.
        report(FAILED.replace("failed", "delayed")).replace(b"\n--x--", RETURNED + OTHER),
        daemon("It will be tried for four days.", "Warning: message delayed 24 hours"),
        b"From: Alice <alice@home.test>\nAuto-Submitted: auto-replied (vacation)\n\nI am away.\n",
        b"From: Alice <alice@home.test>\nPrecedence: auto_reply\n\nI am away.\n",
        b"From: Alice <alice@home.test>\nSubject: Out of Office: Hi\n\nI am away.\n",
        b"Content-Type: multipart/report; report-type=disposition-notification; boundary=x\n\n--x\n\nread\n",
        b"Content-Type: multipart/report; report-type=feedback-report; boundary=x\n\n--x\n\nspam\n--x--\n",
    ],
)
def test_what_is_no_failure_leaves_no_trace(octets: bytes) -> None:
    assert read_report(octets) is None


# --- What becomes of it -------------------------------------------------------------------------

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def alias(alice: User) -> Alias:
    return issue(owner=alice)


@pytest.fixture(autouse=True)
def forgotten_faults() -> Iterator[None]:
    yield
    faults._noted.clear()


def path_of(alias: Alias, digest: str = "1234" + "0" * 60) -> str:
    destination = EmailAddress.objects.get(user=alias.owner)
    return return_path(alias.pk, destination.pk, "example.com", timezone.now(), digest)


def come_back(path: str, octets: bytes) -> None:
    address = resolve(path).address
    assert address is not None
    if returned := read_bounce(address, octets):
        count_returned(*returned)


def test_a_return_path_tells_which_message_it_was(alias: Alias) -> None:
    now = timezone.now()

    tags = [
        read_return_path(path_of(alias, digest).partition("@")[0], "example.com", now)
        for digest in ("", "0001", "ffff" + "0" * 60)
    ]

    assert [(tag.alias_id, tag.message) for tag in tags if tag] == [
        (alias.pk, 0),
        (alias.pk, 1),
        (alias.pk, 0xFFFF),
    ]
    assert len(path_of(alias, "ffff").partition("@")[0]) <= 64


@given(octets=st.binary(min_size=32, max_size=32))
def test_a_tag_is_base32_as_the_standard_library_writes_it(octets: bytes) -> None:
    assert _base32(octets) == base64.b32encode(octets).decode().rstrip("=").lower()


@given(alias_id=st.integers(0, 2**48 - 1), destination_id=st.integers(0, 2**47 - 1))
def test_return_paths_are_read_back_whatever_was_encrypted_before(alias_id: int, destination_id: int) -> None:
    now = timezone.now()
    paths = [return_path(alias_id, destination_id, "example.com", now, "ab12") for _ in range(2)]

    assert paths[0] == paths[1]
    tag = read_return_path(paths[0].partition("@")[0], "example.com", now)
    assert tag is not None
    assert (tag.alias_id, tag.destination_id, tag.message) == (alias_id, destination_id, 0xAB12)


def test_the_same_copy_counts_once_however_often_and_however_it_is_reported(alias: Alias) -> None:
    path = path_of(alias)

    for number in range(300):
        come_back(path, report(FAILED.replace("Nobody", f"Nobody {number}")))
    come_back(path_of(alias, "9999"), report(FAILED))

    assert Bounce.objects.count() == 2
    assert Activity.objects.filter(alias=alias, event="bounce").count() == 2


def test_a_destination_that_was_resumed_is_not_paused_by_the_same_reports(alias: Alias) -> None:
    paths = []
    start = timezone.now() - timedelta(days=3)
    for day in range(5):
        with time_machine.travel(start + timedelta(hours=8 * day), tick=False):
            paths.append(path_of(alias, f"{day + 1:04x}"))
            come_back(paths[-1], report(FAILED))
    assert PausedDestination.objects.exists()

    resume(EmailAddress.objects.get(user=alias.owner))
    for path in paths:
        come_back(path, report(FAILED))

    assert not PausedDestination.objects.exists()


def test_a_destination_has_so_many_reports_a_day(alias: Alias) -> None:
    for number in range(REPORTS_PER_DAY + 20):
        come_back(path_of(alias, f"{number + 1:04x}"), daemon("No."))

    assert Bounce.objects.count() == Activity.objects.count() == REPORTS_PER_DAY


def test_the_owner_reads_why(alias: Alias, client: Client) -> None:
    client.force_login(alias.owner)
    come_back(path_of(alias, "0001"), daemon("<script>No</script> mailbox"))
    come_back(path_of(alias, "0002"), daemon(""))
    hop = Hop({"alice@example.com": Refused("5.7.1", "550 5.7.1 Not\r\n from you")})
    message = Message("eve@evil.test", b"a: b\r\n\r\n", "x", "LMTP")
    assert take(message, resolve(alias.address), hop) is Answer.REFUSED

    page = client.get(f"/aliases/{alias.pk}/").content.decode()

    assert "“&lt;script&gt;No&lt;/script&gt; mailbox”" in page
    assert "refused, reason unknown" in page
    assert "“550 5.7.1 Not from you”" in page
    assert not PausedDestination.objects.exists()


def test_each_message_has_a_return_path_of_its_own(alias: Alias) -> None:
    hop = Hop()
    for text in (b"one", b"two"):
        take(Message("eve@evil.test", b"a: b\r\n\r\n" + text, "x", "SMTP"), resolve(alias.address), hop)

    first, second = (sender for sender, _recipient, _content in hop.sent)

    come_back(first, report(FAILED))
    come_back(second, report(FAILED))
    assert first != second
    assert Bounce.objects.count() == 2


# --- Faults of this site ------------------------------------------------------------------------


@pytest.fixture
def make_owner(example_com: Domain) -> Callable[[str], EmailAddress]:
    def make(name: str) -> EmailAddress:
        user = User.objects.create_user(f"{name}@example.com")
        return EmailAddress.objects.get(user=user)

    return make


def forwarded_to(address: EmailAddress) -> None:
    alias = issue(owner=address.user)
    Activity.objects.create(alias=alias, event="forward", destination=address)


def test_the_same_refusal_of_many_peoples_servers_pauses_nobody_and_is_told(
    make_owner: Callable[[str], EmailAddress], root: User
) -> None:
    people = [make_owner(name) for name in ("one", "two", "three", "four")]
    start = timezone.now() - timedelta(days=2)
    paused = []
    for hours in (0, 8, 16, 24, 32, 40):
        with time_machine.travel(start + timedelta(hours=hours), tick=False):
            for address in people:
                forwarded_to(address)
            paused += [note_bounce(address, "5.1.1") for address in people]

    assert not any(paused)
    assert SiteFault.objects.get().what == "refusals: 5.1.1"

    # One person's, among people whose mail arrives, is that person's.
    for hours in (44, 46, 48, 52, 60, 71):
        with time_machine.travel(start + timedelta(hours=hours + 24), tick=False):
            for address in people:
                forwarded_to(address)
            paused.append(note_bounce(people[0], "5.2.1"))
    assert paused[-1]


def test_one_persons_many_destinations_are_no_burst(make_owner: Callable[[str], EmailAddress]) -> None:
    first = make_owner("one")
    others = [
        EmailAddress.objects.create(user=first.user, email=f"x{number}@home.test", verified=True)
        for number in range(10)
    ]
    for address in others:
        forwarded_to(address)
        note_bounce(address, "5.1.1")

    assert not SiteFault.objects.exists()


def test_a_next_hop_that_does_not_let_us_in_is_told_to_the_administrators_once_a_day(
    alias: Alias, root: User, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    hop = Hop({"alice@example.com": Pending("RCPT 530 5.7.0", is_ours=True)})
    for number in range(3):
        message = Message("eve@evil.test", b"a: %d\r\n\r\n" % number, "x", "SMTP")
        assert take(message, resolve(alias.address), hop) is Answer.LATER

    for _ in range(2):
        call_command("report_mail_faults")

    (sent,) = mail.outbox
    assert sent.to == [root.email]
    assert "next hop: RCPT 530 5.7.0" in sent.body
    assert "/admin/mail/sitefault/" in sent.body
    assert caplog.text.count("this site's mail is refused: next hop: RCPT 530 5.7.0") == 1
    client.force_login(root)
    assert "RCPT 530 5.7.0" in client.get("/admin/mail/sitefault/").content.decode()
    assert not Bounce.objects.exists()
    with time_machine.travel(timezone.now() + timedelta(hours=24)):
        SiteFault.objects.update(last=timezone.now())
        call_command("report_mail_faults")
    assert len(mail.outbox) == 2


def test_a_fault_that_cannot_be_written_does_not_stop_the_mail(
    alias: Alias, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.db import OperationalError

    def away(**kwargs: object) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(SiteFault.objects, "update_or_create", away)

    faults.note_fault("next hop: AUTH 535")
