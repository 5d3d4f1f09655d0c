"""Mail programs at the submission door, over TLS: Python's smtplib, msmtp and mutt."""

import shutil
import smtplib
import ssl
import subprocess
from pathlib import Path

import pytest
from pytest_django import Settings

from accounts.models import User
from aliases.models import Alias
from contacts.models import Contact
from mail.delivery.threads import original_id
from tests.conftest import missing
from tests.mail.server.test_submission import FRIEND, TELLING, written
from tests.rig.certificates import pair
from tests.rig.conversing import APPLE_MAIL, OUTLOOK, THUNDERBIRD, Person, ids
from tests.rig.mail_doors import Hop, running_doors
from tests.rig.mta import Arrived

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """The context of a server that is `localhost`, and the certificate that its clients trust."""
    certificate, key = pair("localhost")
    both, trusted = tmp_path / "both.pem", tmp_path / "trusted.pem"
    both.write_bytes(key + certificate)
    trusted.write_bytes(certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(both)
    return context, trusted


def run(*command: str, text: bytes, home: Path) -> None:
    """A mail program from Debian."""
    if shutil.which(command[0]) is None:
        missing(f"{command[0]} (Debian: apt install {command[0]})")
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin", "EMAIL": "x@x.test", "LANG": "C.UTF-8"}
    done = subprocess.run(command, input=text, capture_output=True, env=environment, check=False, timeout=300)
    assert done.returncode == 0, done.stderr


def send_with_msmtp(
    user: str,
    password: str,
    sender: str,
    port: int,
    trusted: Path,
    recipient: str,
    content: bytes,
    home: Path,
    method: str = "plain",
    *,
    starttls: bool = False,
) -> None:
    rc = home / "msmtprc"
    rc.write_text(
        f"account default\nhost localhost\nport {port}\nfrom {sender}\n"
        f"tls on\ntls_starttls {'on' if starttls else 'off'}\ntls_trust_file {trusted}\n"
        f"auth {method}\nuser {user}\npassword {password}\n"
    )
    rc.chmod(0o600)
    run("msmtp", "-C", str(rc), recipient, text=content, home=home)


@pytest.mark.parametrize("door", ["submission", "submission_tls"])
@pytest.mark.parametrize("method", ["plain", "login"])
def test_msmtp_sends_from_an_alias(
    tls: tuple[ssl.SSLContext, Path],
    tmp_path: Path,
    alice: User,
    alias: Alias,
    secret: str,
    hop: Hop,
    door: str,
    method: str,
) -> None:
    with running_doors(hop, door, tls=tls[0]) as places:
        send_with_msmtp(
            alice.email,
            secret,
            alias.address,
            places[door][1],
            tls[1],
            FRIEND,
            written(alias.address, more=TELLING),
            tmp_path,
            method,
            starttls=door == "submission",
        )

    ((_sender, recipient, content),) = hop.sent
    assert recipient == FRIEND
    assert content.endswith(b"\r\n\r\nHello\r\n")
    for word in (b"alice", b"zx81", b"127.0.0.1"):
        assert word not in content


def test_mutt_sends_from_an_alias(
    tls: tuple[ssl.SSLContext, Path], tmp_path: Path, alice: User, alias: Alias, secret: str, hop: Hop
) -> None:
    with running_doors(hop, "submission_tls", tls=tls[0]) as places:
        rc = tmp_path / "muttrc"
        rc.write_text(
            f'set smtp_url="smtps://{alice.email}@localhost:{places["submission_tls"][1]}/"\n'
            f'set smtp_pass="{secret}"\nset from="{alias.address}"\nset realname="Shop"\n'
            "set use_envelope_from\n"
            f'set ssl_ca_certificates_file="{tls[1]}"\nset certificate_file="{tls[1]}"\n'
            f'set folder="{tmp_path}"\nset record=""\nset hidden_host\nset hostname="zx81.home.lan"\n'
        )
        run(
            *("mutt", "-n", "-F", str(rc), "-s", "Grüße", "-b", "secret@far.test", FRIEND),
            text="Hello, ä\n".encode(),
            home=tmp_path,
        )

    assert {recipient for _sender, recipient, _content in hop.sent} == {FRIEND, "secret@far.test"}
    for _sender, _recipient, content in hop.sent:
        for word in (b"alice", b"zx81", b"User-Agent", b"secret@", b"127.0.0.1"):
            assert word not in content


# Of alice, her computer and her programs.
OWN_TRACES = (
    *("alice", "hidden person", "secret-home", "secret home", "laptop", "192.0.2.77", "2001:db8"),
    *("+0545", "thunderbird", "mozilla", "apple", "mac os", "autocrypt", "user-agent", "x-mailer"),
    *("received", "organization", "disposition-notification", "x-anonmail"),
    *("127.0.0.1", "esmtp", "msmtp", "localhost"),
)
BODIES = ("Grüße!\n", "Danke.\n\n.\n..dots\n", "Zürich?\n", "Yes. \n-- \nbye\n")


def test_a_conversation_hides_the_person_and_keeps_its_thread(
    tls: tuple[ssl.SSLContext, Path],
    tmp_path: Path,
    settings: Settings,
    alice: User,
    alias: Alias,
    secret: str,
    hop: Hop,
) -> None:
    """From the alias with smtplib, back, an answer with msmtp, and back again."""
    settings.MAIL_HOSTNAME = "mx.example.com"
    # In its name is no word that is looked for.
    alias.address, alias.hides_replies = "shop.one@example.com", True
    alias.save()
    friend, person = Person(f"Friend <{FRIEND}>"), Person(f"Shop <{alias.address}>")

    def arrived(recipient: str) -> Arrived:
        last = Arrived(*hop.sent[-1])
        assert last.recipient == recipient
        return last

    with running_doors(hop, "submission_tls", "smtp", tls=tls[0]) as places:
        port = places["submission_tls"][1]

        def answer(content: bytes) -> None:
            with smtplib.SMTP(*places["smtp"], local_hostname="mx.far.test", timeout=20) as client:
                assert client.sendmail(FRIEND, [alias.address], content, ["BODY=8BITMIME"]) == {}

        trusting = ssl.create_default_context(cafile=str(tls[1]))
        with smtplib.SMTP_SSL(
            "localhost", port, "laptop.secret-home.test", timeout=20, context=trusting
        ) as one:
            one.login(alice.email, secret)
            content = person.writes(THUNDERBIRD, "<1@laptop.secret-home.test>", FRIEND, BODIES[0])
            assert one.sendmail(alias.address, [FRIEND], content) == {}
        first = friend.gets(arrived(FRIEND))
        answer(friend.answers(OUTLOOK, "<2@far.test>", first, BODIES[1]))
        second = person.gets(arrived(alice.email))
        third_content = person.answers(APPLE_MAIL, "<3@laptop.secret-home.test>", second, BODIES[2])
        reverse = Contact.objects.get().reverse_address
        send_with_msmtp(alice.email, secret, alias.address, port, tls[1], reverse, third_content, tmp_path)
        third = friend.gets(arrived(FRIEND))
        answer(friend.answers(OUTLOOK, "<4@far.test>", third, BODIES[3]))
        fourth = person.gets(arrived(alice.email))

    assert [recipient for _sender, recipient, _content in hop.sent] == [FRIEND, alice.email] * 2
    seen = b"\n".join(friend.saw).lower()
    assert [word for word in (*OWN_TRACES, reverse) if word.encode() in seen] == []
    for (_sender, _recipient, content), body in zip(hop.sent, BODIES, strict=True):
        assert content.endswith(b"\r\n\r\n" + body.replace("\n", "\r\n").encode())
    sent = [str(message["Message-ID"]) for message in (first, second, third, fourth)]
    own = [original_id(alias.address, each) for each in sent[::2]]
    assert own == ["<1@laptop.secret-home.test>", "<3@laptop.secret-home.test>"]
    # Either side's program finds what its fields name.
    assert (ids(first, "References"), ids(second, "In-Reply-To")) == ([], own[:1])
    assert ids(third, "In-Reply-To") == ["<2@far.test>"]
    assert ids(third, "References") == sent[:2]
    assert ids(fourth, "In-Reply-To") == own[1:]
    assert set(ids(third, "References")) <= friend.known
    for message in (second, fourth):
        assert message["From"].addresses[0].addr_spec == reverse
        assert message["Sender"] is message["Disposition-Notification-To"] is None
