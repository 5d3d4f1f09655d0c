"""Signing in to a throw-away Postfix: its submission service, and what stands in for Dovecot beside it."""

import base64
import smtplib
import socketserver
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.rig.certificates import pair
from tests.rig.mail_process import is_soon
from tests.rig.mta import Postfix
from tests.rig.ports import free_port

# docs/replies.md has this line, for services with restrictions of their own.
ASK_POLICY = (
    "-o smtpd_recipient_restrictions=check_policy_service,unix:anonmail/policy,"
    "permit_sasl_authenticated,reject"
)


class _Session(socketserver.StreamRequestHandler):
    """Dovecot's authentication protocol, version 1.1, as far as Postfix speaks it."""

    server: "_Accounts"

    def handle(self) -> None:
        self.wfile.write(b"VERSION\t1\t1\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t0\nDONE\n")
        for line in self.rfile:
            command, number, *parameters = line.decode().rstrip("\n").split("\t")
            if command != "AUTH":
                continue
            response = next(each for each in parameters if each.startswith("resp="))
            _for, name, password = base64.b64decode(response.removeprefix("resp=")).decode().split("\0")
            answer = "OK" if self.server.passwords.get(name) == password else "FAIL"
            self.wfile.write(f"{answer}\t{number}\tuser={name}\n".encode())


class _Accounts(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, passwords: Mapping[str, str]) -> None:
        self.passwords = passwords
        super().__init__(("127.0.0.1", 0), _Session)


@contextmanager
def accounts(passwords: Mapping[str, str]) -> Iterator[int]:
    """The port at which these names and passwords are known."""
    with _Accounts(passwords) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join(10)


@contextmanager
def submission_service(postfix: Postfix, passwords: Mapping[str, str], *options: str) -> Iterator[int]:
    """The port of a submission service of this Postfix, for clients that sign in over TLS.

    `options`: what master.cf has for it, beside what every such service has.
    """
    certificate = postfix.directory / "submission.pem"
    certificate.write_bytes(b"".join(reversed(pair("mx.example.com"))))
    port = free_port()
    path = postfix.directory / "master.cf"
    before = path.read_text()
    with accounts(passwords) as asked:
        lines = (
            f"127.0.0.1:{port} inet n - y - - smtpd",
            "-o syslog_name=postfix/submission",
            "-o smtpd_tls_security_level=encrypt",
            f"-o smtpd_tls_chain_files={certificate}",
            "-o smtpd_sasl_auth_enable=yes",
            "-o smtpd_sasl_type=dovecot",
            f"-o smtpd_sasl_path=inet:127.0.0.1:{asked}",
            # As mailcow has it: Received then names who has signed in.
            "-o smtpd_sasl_authenticated_header=yes",
            *options,
        )
        path.write_text(before + "\n  ".join(lines) + "\n")
        postfix.command("postfix", "reload")
        try:
            yield port
        finally:
            path.write_text(before)
            postfix.command("postfix", "reload")


@contextmanager
def signed_in(port: int, name: str, password: str, client: str, address: str) -> Iterator[smtplib.SMTP]:
    """A mail program's connection, as from a client of that name and IP address."""

    def is_there() -> bool:
        try:
            with smtplib.SMTP("127.0.0.1", port, timeout=20):
                return True
        except OSError:
            return False

    assert is_soon(is_there)
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP("127.0.0.1", port, local_hostname=client, timeout=60) as program:
        program.ehlo()
        assert program.docmd("XCLIENT", f"ADDR={address} NAME={client}")[0] == 220
        program.ehlo()
        program.starttls(context=unverified)
        program.login(name, password)
        yield program
