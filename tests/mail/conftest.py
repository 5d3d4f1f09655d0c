"""What several tests of the mail path share."""

import shutil
import ssl
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.rig.mail_process import Server, filled_database


@pytest.fixture
def certificate(tmp_path: Path) -> ssl.SSLContext:
    """A server's TLS context with a certificate of its own making."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mx.example.com")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "mx.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    return context


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A database file with an alias of alice's, and the alias."""
    return filled_database(tmp_path_factory.mktemp("filled"))


@pytest.fixture
def server(filled: tuple[Path, str]) -> Iterator[Server]:
    # pytest's own directories are too deep for a UNIX socket's path.
    directory = Path(tempfile.mkdtemp(prefix="anonmail-"))
    made = Server(directory, filled[0])
    try:
        yield made
    finally:
        made.end()
        shutil.rmtree(directory)
