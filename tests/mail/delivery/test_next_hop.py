"""The next hop as a stranger could pose for it, as it speaks of us, and as it speaks of a destination."""

import asyncio
import base64
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.core.mail import EmailMessage
from django.core.mail.backends.smtp import EmailBackend

from mail.delivery.bounce import is_no_mailbox
from mail.delivery.next_hop import (
    Accepted,
    Outcome,
    Pending,
    Refused,
    SmtpHop,
    next_hop_from,
    send_once,
)
from mail.delivery.smtp_client import PIECE, stuffed

MESSAGE = b"Subject: Hi\r\n\r\nthe body\r\n"
SECRETS = (b"s3cret", b"hidden@home.test", b"the body", b"b.tag@example.com")


@dataclass
class Server:
    """An SMTP server of a few lines: what it answers, by the beginning of a line, and all that it heard."""

    answers: dict[str, str] = field(default_factory=dict)
    offers: tuple[str, ...] = ("8BITMIME", "SMTPUTF8", "PIPELINING", "AUTH PLAIN")
    tls: ssl.SSLContext | None = None
    is_implicit: bool = False
    heard: bytearray = field(default_factory=bytearray)
    port: int = 0

    @property
    def lines(self) -> list[str]:
        """What it heard."""
        return self.heard.decode().split("\r\n")

    def url(self, scheme: str, host: str = "localhost") -> str:
        """It as MAIL_NEXT_HOP names it."""
        return f"{scheme}://user:s3cret@{host}:{self.port}"

    def send(self, scheme: str = "smtp", authorities: str = "", host: str = "localhost") -> Outcome:
        """Hand a message to it."""
        hop = next_hop_from(self.url(scheme, host), "mx.example.com", authorities)
        return send_once(hop, "b.tag@example.com", "hidden@home.test", MESSAGE)

    def serve(self, connection: socket.socket) -> None:
        """Speak with one client."""
        try:
            if self.is_implicit and self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            connection.sendall(b"220 next.test\r\n")
            while line := _line(connection):
                self.heard += line
                answer = self.answer(line.decode())
                connection.sendall(answer.encode() + b"\r\n")
                if line == b"STARTTLS\r\n" and self.tls and answer.startswith("220"):
                    connection = self.tls.wrap_socket(connection, server_side=True)
                if answer.startswith("354"):
                    while (line := _line(connection)) not in {b".\r\n", b""}:
                        self.heard += line
                    connection.sendall(self.answers.get(".", "250 2.0.0 OK").encode() + b"\r\n")
        finally:
            # Wrapped meanwhile: the socket that came in is no more.
            connection.close()

    def answer(self, line: str) -> str:
        # Django's own client, smtplib, greets in lower case.
        greeting = line.upper() if line.startswith(("ehlo", "helo")) else line
        if told := next((text for start, text in self.answers.items() if greeting.startswith(start)), ""):
            return told
        if greeting.startswith("EHLO"):
            offers = [*self.offers, *(["STARTTLS"] if self.tls and not self.is_implicit else [])]
            return "\r\n".join(["250-next.test", *(f"250-{offer}" for offer in offers), "250 HELP"])
        return {"AUTH": "235 2.7.0 OK", "DATA": "354 go on", "STAR": "220 2.0.0 go on"}.get(
            line[:4], "250 OK"
        )


def _line(connection: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\r\n") and (octet := connection.recv(1)):
        line += octet
    return line


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """The server at a port of its own, in a thread that ends with the block."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(30)
    server.port = listener.getsockname()[1]

    def accept() -> None:
        while True:
            try:
                connection = listener.accept()[0]
                connection.settimeout(30)
                server.serve(connection)
            except (ssl.SSLError, ConnectionError, TimeoutError):
                continue
            except OSError:
                return

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(30)


@dataclass(frozen=True)
class Authority:
    """A certificate authority, and where its certificate lies."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    directory: Path

    @property
    def file(self) -> str:
        return str(self.directory / "authority.pem")

    def server(self, name: str) -> ssl.SSLContext:
        """A context whose certificate is for that name, or address, signed by this authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        file = self.directory / f"{name}.pem"
        certificate = _certificate(name, key, self.certificate.subject, self.key)
        file.write_bytes(_pem(key) + certificate.public_bytes(serialization.Encoding.PEM))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(file)
        return context


def _usage(*, of_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=of_authority,
        crl_sign=of_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Name | None, signer: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    is_address = name[0].isdigit()
    general = x509.IPAddress(ip_address(name)) if is_address else x509.DNSName(name)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([general]), critical=False)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        # RFC 5280 wants them, and since 3.13 so does Python.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .add_extension(_usage(of_authority=issuer is None), critical=True)
        .sign(signer, hashes.SHA256())
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.fixture
def make_authority(tmp_path: Path) -> Callable[[str], Authority]:
    def make(name: str) -> Authority:
        directory = tmp_path / name
        directory.mkdir()
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(name, key, None, key)
        (directory / "authority.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return Authority(key, certificate, directory)

    return make


TLS = pytest.mark.parametrize("scheme", ["smtps", "smtp+starttls"])


def tls_server(scheme: str, context: ssl.SSLContext) -> Server:
    return Server(tls=context, is_implicit=scheme == "smtps")


@TLS
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_next_hop_whose_certificate_is_vouched_for_gets_the_mail(
    scheme: str, host: str, make_authority: Callable[[str], Authority]
) -> None:
    ours = make_authority("ours")
    with running(tls_server(scheme, ours.server(host))) as server:
        assert server.send(scheme, ours.file, host) == Accepted()

    assert all(secret in server.heard for secret in SECRETS[1:])


@TLS
@pytest.mark.parametrize("wrong", ["another authority", "the system's authorities", "another name"])
def test_nobody_else_gets_password_destination_or_body(
    scheme: str, wrong: str, make_authority: Callable[[str], Authority]
) -> None:
    ours, theirs = make_authority("ours"), make_authority("theirs")
    name = "mx.elsewhere.test" if wrong == "another name" else "localhost"
    authorities = {"another authority": theirs.file, "another name": ours.file}.get(wrong, "")
    with running(tls_server(scheme, ours.server(name))) as server:
        outcome = server.send(scheme, authorities)

    assert outcome == Pending("SSLCertVerificationError", is_ours=True)
    assert b"AUTH" not in server.heard
    for secret in (*SECRETS, base64.b64encode(b"\0user\0s3cret")):
        assert secret not in server.heard


def test_a_self_signed_next_hop_is_trusted_by_naming_its_own_certificate(
    make_authority: Callable[[str], Authority],
) -> None:
    itself = make_authority("localhost")
    (itself.directory / "pair.pem").write_bytes(_pem(itself.key) + Path(itself.file).read_bytes())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(itself.directory / "pair.pem")
    with running(tls_server("smtps", context)) as server:
        assert server.send("smtps", itself.file) == Accepted()
        assert server.send("smtps") == Pending("SSLCertVerificationError", is_ours=True)


def test_a_next_hop_that_offers_no_tls_gets_nothing() -> None:
    with running(Server()) as server:
        reason = "SMTP STARTTLS extension not supported by server."
        assert server.send("smtp+starttls") == Pending(reason, is_ours=True)

    assert b"AUTH" not in server.heard
    assert b"MAIL" not in server.heard


@pytest.mark.parametrize("option", ["use_ssl", "use_tls"])
def test_djangos_own_mail_verifies_too(option: str, make_authority: Callable[[str], Authority]) -> None:
    """EMAIL_URL: not our code, and ours to know."""
    theirs = make_authority("theirs")
    server = Server(tls=theirs.server("localhost"), is_implicit=option == "use_ssl")
    with running(server):
        backend = EmailBackend("localhost", server.port, "user", "s3cret", timeout=20, **{option: True})
        with pytest.raises(ssl.SSLCertVerificationError):
            backend.send_messages([EmailMessage("Hi", "the body", "a@b.test", ["hidden@home.test"])])

    assert b"AUTH" not in server.heard
    assert b"MAIL" not in server.heard


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_a_password_may_have_any_characters(mechanism: str) -> None:
    server = Server(offers=(f"AUTH {mechanism}",))
    name, password = "müller", "pässwört€"
    octets = f"\0{name}\0{password}".encode()
    if mechanism != "PLAIN":
        challenge = base64.b64encode(b"<1@next.test>").decode()
        second = base64.b64encode(name.encode()).decode()
        server.answers = {"AUTH": f"334 {challenge}", second: f"334 {challenge}"}
        server.answers[base64.b64encode(password.encode()).decode()] = "235 2.7.0 OK"
        if mechanism == "CRAM-MD5":
            server.answers[base64.b64encode(f"{name} ".encode()).decode()[:8]] = "235 2.7.0 OK"
    with running(server):
        hop = SmtpHop("127.0.0.1", server.port, user=name, password=password)
        assert send_once(hop, "", "hidden@home.test", MESSAGE) == Accepted()

    if mechanism == "PLAIN":
        assert f"AUTH PLAIN {base64.b64encode(octets).decode()}" in server.lines


@pytest.mark.parametrize("password", ["p%00", "p%FC"])
def test_a_password_that_cannot_be_sent_is_refused_at_the_start(password: str) -> None:
    with pytest.raises(ValueError, match="in UTF-8"):
        next_hop_from(f"smtp://user:{password}@next.test", "mx.example.com")


@pytest.mark.parametrize(
    ("command", "answer", "outcome"),
    [
        # Of the destination.
        ("RCPT", "550 5.1.1 <x> User unknown", Refused("5.1.1")),
        ("RCPT", "550-5.1.1 gone\r\n550 5.1.1 far away", Refused("5.1.1")),
        ("RCPT", "550 5.7.1 You are listed", Refused("5.7.1")),
        ("RCPT", "550 5.1.8 Sender address rejected: Domain not found", Refused("5.1.8")),
        ("RCPT", "550 no such user", Refused("5.0.0")),
        (".", "554 5.7.1 Spam", Refused("5.7.1")),
        (".", "550 5.7.26 Mail from relays that are not allowed, relaying denied", Refused("5.7.26")),
        # A status is the first word (RFC 2034 §4), of the reply's own class.
        ("RCPT", "550 Client host [203.5.1.77] is listed", Refused("5.0.0")),
        ("RCPT", "550 5.1.77.3 is listed", Refused("5.0.0")),
        ("RCPT", "550 see RFC 5.1.1", Refused("5.0.0")),
        ("RCPT", "550 2.1.5 odd", Refused("5.0.0")),
        # Of the message.
        ("MAIL", "552 5.3.4 Message size exceeds fixed limit", Refused("5.3.4")),
        ("MAIL", "552 too large", Refused("5.0.0")),
        # Of us: who sends, who may send through it.
        ("MAIL", "550 5.1.8 Domain not found", Pending("MAIL 550 5.1.8", is_ours=True)),
        ("MAIL", "550 5.1.1 unknown sender", Pending("MAIL 550 5.1.1", is_ours=True)),
        ("MAIL", "530 5.7.0 Authentication required", Pending("MAIL 530 5.7.0", is_ours=True)),
        ("RCPT", "530 5.7.1 Client was not authenticated", Pending("RCPT 530 5.7.1", is_ours=True)),
        ("RCPT", "550 5.7.1 Authentication required", Pending("RCPT 550 5.7.1", is_ours=True)),
        ("RCPT", "554 5.7.1 <x>: Relay access denied", Pending("RCPT 554 5.7.1", is_ours=True)),
        ("RCPT", "550 relaying to <x> prohibited by administrator", Pending("RCPT 550", is_ours=True)),
        ("RCPT", "550 5.7.1 Unable to relay", Pending("RCPT 550 5.7.1", is_ours=True)),
        ("RCPT", "554 5.7.14 trust relationship required", Pending("RCPT 554 5.7.14", is_ours=True)),
        # Not now.
        ("RCPT", "450 4.2.1 later", Pending("450")),
        (".", "451 4.3.0 later", Pending("451")),
    ],
)
@pytest.mark.parametrize("offers", [("PIPELINING",), ()])
def test_a_refusal_is_read_as_what_it_is_about(
    command: str, answer: str, outcome: Outcome, offers: tuple[str, ...]
) -> None:
    server = Server({command: answer, **({"DATA": "503 5.5.1 first"} if command != "." else {})}, offers)
    with running(server):
        hop = SmtpHop("127.0.0.1", server.port)
        assert send_once(hop, "b.tag@example.com", "hidden@home.test", MESSAGE) == outcome


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"AUTH": "535 5.7.8 wrong"}, "SMTPAuthenticationError 535"),
        ({"EHLO": "554 no service", "HELO": "554 no service"}, "SMTPHeloError 554"),
    ],
)
def test_a_next_hop_that_does_not_let_us_in_is_our_own_fault(answers: dict[str, str], reason: str) -> None:
    with running(Server(answers)) as server:
        assert server.send() == Pending(reason, is_ours=True)


def test_a_next_hop_that_cannot_check_a_password_now_is_not() -> None:
    with running(Server({"AUTH": "454 4.7.0 later"})) as server:
        assert server.send() == Pending("SMTPAuthenticationError 454")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        *((status, True) for status in ("5.1.1", "5.1.6", "5.1.10", "5.2.1")),
        *((status, False) for status in ("5.1.0", "5.1.2", "5.1.3", "5.1.7", "5.1.8", "5.1.77", "5.2.2")),
    ],
)
def test_the_statuses_that_mean_no_such_mailbox(status: str, expected: bool) -> None:
    assert is_no_mailbox(status) is expected


ASCII = b"Subject: Hi\r\n\r\n"
PART = b'Content-Type: multipart/mixed; boundary="x"\r\n\r\n--x\r\nContent-Type: text/plain; name='


@pytest.mark.parametrize(
    ("recipient", "message", "is_needed"),
    [
        ("hidden@home.test", ASCII + b"body\r\n", False),
        ("hidden@home.test", ASCII + "bödy\r\n".encode(), False),
        ("hidden@home.test", "Subject: Hü\r\n\r\nbody\r\n".encode(), True),
        ("hidden@home.test", PART + '"ü"\r\n\r\nx\r\n--x--\r\n'.encode(), True),
        ("hidden@home.test", PART + '"u"\r\n\r\nü: x\r\n--x--\r\n'.encode(), False),
        ("hüdden@home.test", ASCII + b"body\r\n", True),
    ],
)
def test_smtputf8_is_asked_for_where_what_is_sent_needs_it(
    recipient: str, message: bytes, is_needed: bool
) -> None:
    offering, lacking = Server(offers=("SMTPUTF8", "8BITMIME")), Server(offers=("8BITMIME",))
    outcomes = []
    for server in (offering, lacking):
        with running(server):
            hop = SmtpHop("127.0.0.1", server.port)
            outcomes.append(send_once(hop, "b.tag@example.com", recipient, message, utf8=True))

    assert outcomes == [Accepted(), Refused("5.6.7") if is_needed else Accepted()]
    (mail,) = [line for line in offering.lines if line.startswith("MAIL")]
    assert ("SMTPUTF8" in mail) is is_needed


# --- Connections that are kept -------------------------------------------------------------------


def send_all(server: Server, number: int, pause: float = 0.0, message: bytes = MESSAGE) -> list[Outcome]:
    """The outcomes of so many messages through one hop, one after the other, with a pause between them."""

    async def run() -> list[Outcome]:
        hop = SmtpHop("127.0.0.1", server.port, hostname="mx.example.com")
        outcomes = []
        for _ in range(number):
            outcomes.append(await hop.send("b.tag@example.com", "hidden@home.test", message))
            await asyncio.sleep(pause)
        await hop.close()
        return outcomes

    return asyncio.run(run())


@pytest.mark.parametrize("offers", [("PIPELINING",), ()])
@pytest.mark.parametrize("answer", ["250 OK", "550 5.1.1 Unknown", "450 4.2.1 Later"])
def test_a_connection_is_used_for_the_next_message_whatever_became_of_the_last(
    offers: tuple[str, ...], answer: str
) -> None:
    with running(Server({"RCPT": answer}, offers)) as server:
        first, *others = send_all(server, 4)

    assert others == [first] * 3
    assert sum(line.startswith("EHLO") for line in server.lines) == 1
    assert server.lines.count("RSET") == (0 if first == Accepted() else 4)


@pytest.mark.parametrize("goodbye", [b"421 4.4.2 Timeout\r\n", b""])
def test_a_connection_that_the_server_has_ended_meanwhile_is_replaced(goodbye: bytes) -> None:
    class Impatient(Server):
        def serve(self, connection: socket.socket) -> None:
            connection.sendall(b"220 next.test\r\n")
            while (line := _line(connection)) != b".\r\n":
                self.heard += line
                if line[:4] in {b"EHLO", b"MAIL", b"RCPT", b"DATA"}:
                    connection.sendall(self.answer(line.decode()).encode() + b"\r\n")
            connection.sendall(b"250 OK\r\n" + goodbye)
            connection.close()

    with running(Impatient(offers=())) as server:
        outcomes = send_all(server, 3, pause=0.1)

    assert outcomes == [Accepted()] * 3
    assert sum(line.startswith("EHLO") for line in server.lines) == 3


def test_a_large_message_arrives_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    # The server reads an octet at a time.
    monkeypatch.setattr("mail.delivery.smtp_client.TIMEOUT", 300)
    message = MESSAGE + b"x" * PIECE + b"\r\n.\r\n\n.\n" + (b"." * 70 + b"\r\n") * 20_000

    with running(Server()) as server:
        assert send_all(server, 2, message=message) == [Accepted()] * 2

    # As it was stuffed; and nothing that follows it was taken for a part of it.
    assert server.heard.count(b"".join(stuffed(message)).removesuffix(b".\r\n")) == 2


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mail.delivery.smtp_client.TIMEOUT", 0.3)

    class Silent(Server):
        def answer(self, line: str) -> str:
            # An answer that does not end.
            return "250-" if line.startswith("RCPT") else super().answer(line)

    with running(Silent(offers=())) as server:
        assert send_all(server, 1) == [Pending("TimeoutError")]


@pytest.mark.parametrize("offers", [("PIPELINING",), ()])
@pytest.mark.parametrize("answers", [{"DATA": "250 OK"}, {"MAIL": "250 OK\r\n250 late"}])
def test_what_was_not_sent_is_never_accepted(answers: dict[str, str], offers: tuple[str, ...]) -> None:
    """A server out of step: DATA gets an answer that another command was meant to get."""
    with running(Server(answers, offers)) as server:
        outcomes = send_all(server, 2)

    assert all(isinstance(outcome, Pending) for outcome in outcomes)
    assert "the body" not in server.lines


def test_a_refusal_counts_even_if_the_server_hangs_up_with_it() -> None:
    class HangsUp(Server):
        def answer(self, line: str) -> str:
            if line == "RSET\r\n":
                raise ConnectionError
            return super().answer(line)

    with running(HangsUp({"RCPT": "550 5.1.1 Unknown"})) as server:
        assert send_all(server, 2) == [Refused("5.1.1")] * 2


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [("552 5.3.4 Too large", Refused("5.3.4")), ("250 2.0.0 OK", Pending("ConnectionResetError"))],
)
def test_an_answer_before_the_end_of_the_data(
    answer: str, outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What follows it is data for the server, until the message's end."""
    monkeypatch.setattr("mail.delivery.smtp_client.TIMEOUT", 5)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 next.test\r\n")
        while (line := await reader.readline()) != b"DATA\r\n":
            writer.write(b"250 OK\r\n" if line else b"")
        writer.write(b"354 go on\r\n")
        await reader.readexactly(PIECE)
        writer.write(f"{answer}\r\n".encode())
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    async def run() -> Outcome:
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        hop = SmtpHop("127.0.0.1", server.sockets[0].getsockname()[1], hostname="mx.example.com")
        message = MESSAGE + b"x" * (64 * PIECE)
        outcome = await hop.send("b.tag@example.com", "hidden@home.test", message)
        await hop.close()
        server.close()
        await asyncio.sleep(0.1)
        return outcome

    assert asyncio.run(run()) == outcome


def test_a_message_that_may_have_been_taken_is_not_sent_again_at_once() -> None:
    class Forgetful(dict[str, str]):
        bodies = 0

        def get(self, key: str, default: Any = None) -> Any:
            self.bodies += 1
            if self.bodies == 2:
                raise ConnectionError
            return default

    with running(Server(Forgetful())) as server:
        outcomes = send_all(server, 3)

    assert outcomes == [Accepted(), Pending("ConnectionResetError"), Accepted()]
    assert server.lines.count("the body") == 3


@pytest.mark.parametrize("message", [b"\n." * PIECE, b"\r\n." * PIECE, b"." * (3 * PIECE)])
def test_no_message_makes_large_pieces(message: bytes) -> None:
    assert max(map(len, stuffed(message))) <= 2 * PIECE


def test_messages_at_once_have_a_connection_each() -> None:
    servers = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        servers.append(writer)
        writer.write(b"220 next.test\r\n")
        while line := await reader.readline():
            if line == b"DATA\r\n":
                writer.write(b"354 go on\r\n")
                await reader.readuntil(b"\r\n.\r\n")
                while len(servers) < 5:
                    await asyncio.sleep(0.01)
            writer.write(b"250 OK\r\n")
        writer.close()

    async def run() -> list[Outcome]:
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        hop = SmtpHop("127.0.0.1", server.sockets[0].getsockname()[1], hostname="mx.example.com")
        for _ in range(2):
            sends = (hop.send("", f"{number}@home.test", MESSAGE) for number in range(5))
            outcomes = await asyncio.wait_for(asyncio.gather(*sends), 20)
        await hop.close()
        server.close()
        await asyncio.sleep(0.1)
        return outcomes

    assert asyncio.run(run()) == [Accepted()] * 5
    assert len(servers) == 5
