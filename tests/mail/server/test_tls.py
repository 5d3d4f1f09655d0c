"""A certificate that is renewed while the server runs."""

import os
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509

from mail.server.tls import Certificate
from tests.rig.certificates import pair
from tests.rig.mail_process import Server, is_soon


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for old.test, and its key, reached by links as certbot keeps them."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    for link, octets in zip((certificate, key), pair("old.test"), strict=True):
        (tmp_path / f"1-{link.name}").write_bytes(octets)
        link.symlink_to(f"1-{link.name}")
    return certificate, key


def shown(certificate: Certificate) -> str:
    """The name in the certificate that a client is shown."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    back, forth = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = certificate.context.wrap_bio(incoming, outgoing, server_side=True)
    client = trusting.wrap_bio(back, forth)
    for _ in range(4):
        for side, source, target in ((client, forth, incoming), (server, outgoing, back)):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
            target.write(source.read())
    octets = client.getpeercert(binary_form=True)
    assert octets
    (name,) = x509.load_der_x509_certificate(octets).subject
    return str(name.value)


def replace(link: Path, octets: bytes) -> None:
    """Let the link lead to a new file, in one step."""
    new = link.with_name(f"2-{link.name}")
    new.write_bytes(octets)
    link.with_name("link").symlink_to(new.name)
    link.with_name("link").rename(link)


def test_a_renewed_certificate_is_shown_without_a_restart(files: tuple[Path, Path]) -> None:
    certificate = Certificate(*map(str, files))
    before = shown(certificate)

    for link, octets in zip(files, pair("new.test"), strict=True):
        replace(link, octets)
    certificate.follow_files()

    assert (before, shown(certificate)) == ("old.test", "new.test")


def test_a_file_that_is_written_in_place_is_read_again(tmp_path: Path) -> None:
    both = tmp_path / "mx.pem"
    both.write_bytes(b"".join(pair("old.test")))
    certificate = Certificate(str(both), "")

    both.write_bytes(b"".join(pair("new.test")))
    os.utime(both, ns=(0, 0))
    certificate.follow_files()

    assert shown(certificate) == "new.test"


def test_half_of_a_renewal_replaces_nothing(
    files: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    certificate = Certificate(*map(str, files))
    new_certificate, new_key = pair("new.test")

    replace(files[0], new_certificate)
    certificate.follow_files()
    half = shown(certificate)
    files[1].unlink()
    certificate.follow_files()
    gone = shown(certificate)
    files[1].write_bytes(new_key)
    certificate.follow_files()

    assert (half, gone, shown(certificate)) == ("old.test", "old.test", "new.test")
    assert caplog.text.count("the changed certificate is not used") == 2


@pytest.mark.parametrize("spoil", [lambda key: key.unlink(), lambda key: key.write_text("no key")])
def test_a_key_that_cannot_be_read_is_named(
    spoil: Callable[[Path], object], files: tuple[Path, Path]
) -> None:
    spoil(files[1])

    with pytest.raises(OSError, match=str(files[1])):
        Certificate(*map(str, files))


def test_unchanged_files_are_not_read(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = Certificate(*map(str, files))
    monkeypatch.setattr(Certificate, "_loaded", lambda self: pytest.fail("read again"))

    certificate.follow_files()


def test_a_running_server_shows_the_renewed_certificate(server: Server, tmp_path: Path) -> None:
    both = tmp_path / "mx.pem"
    both.write_bytes(b"".join(pair("old.test")))
    port = server.submission_port
    server.start(
        MAIL_TLS_CERTIFICATE=str(both),
        MAIL_SUBMISSION_LISTEN="",
        MAIL_SUBMISSION_TLS_LISTEN=f"127.0.0.1:{port}",
    )

    def name() -> str:
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", port), 20) as peer,
            trusting.wrap_socket(peer) as encrypted,
        ):
            octets = encrypted.getpeercert(binary_form=True)
            assert octets
            assert encrypted.recv(4) == b"220 "
        (attribute,) = x509.load_der_x509_certificate(octets).subject
        return str(attribute.value)

    assert name() == "old.test"
    both.write_bytes(b"".join(pair("new.test")))
    assert is_soon(lambda: name() == "new.test")
