"""What several tests of the mail path share."""

import shutil
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from accounts.models import User
from tests.conftest import forwards_as_it_came
from tests.rig.certificates import pair
from tests.rig.mail_process import Server, filled_database


@pytest.fixture
def alice(alice: User) -> User:
    return forwards_as_it_came(alice)


@pytest.fixture
def root(root: User) -> User:
    return forwards_as_it_came(root)


@pytest.fixture
def certificate(tmp_path: Path) -> ssl.SSLContext:
    """A server's TLS context with a certificate of its own making."""
    certificate, key = pair("mx.example.com")
    pem = tmp_path / "mx.pem"
    pem.write_bytes(key + certificate)
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
