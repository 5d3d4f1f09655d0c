"""OpenPGP as others do it: GnuPG, with keys of the tests' own making."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email import message_from_bytes, policy
from functools import cached_property
from pathlib import Path

ALICE = "alice@example.com"
# A key of alice's that does not expire, for tests that only want one.
FINGERPRINT = "c25262415c2164b2c820034e7fa50b0d14412bd7"
PUBLIC_KEY = """\
-----BEGIN PGP PUBLIC KEY BLOCK-----
Comment: C252 6241 5C21 64B2 C820  034E 7FA5 0B0D 1441 2BD7
Comment: Alice <alice@example.com>

xjMEawkFSxYJKwYBBAHaRw8BAQdA20LAP5FilO9HhUsBT3oyp8Zqh+Et6bnWBl4a
o39CskHCwAsEHxYKAH0FgmsJBUsDCwkHCRB/pQsNFEEr10cUAAAAAAAeACBzYWx0
QG5vdGF0aW9ucy5zZXF1b2lhLXBncC5vcmcRtW5+EbQv2vUfCNl4OFEvBPbhRtBd
VjA4Ckyuf/bZ7gMVCggCmwECHgkWIQTCUmJBXCFkssggA05/pQsNFEEr1wAAf1gB
AOe55mnIDdAmap8UPRTk8MSUXoU9OMHj7Z+VFsNCKpsXAP9bjoTdnyvOJX915rhA
LHbaHbeB5z3bGCP6FfBzH2XnCs0ZQWxpY2UgPGFsaWNlQGV4YW1wbGUuY29tPsLA
DgQTFgoAgAWCawkFSwMLCQcJEH+lCw0UQSvXRxQAAAAAAB4AIHNhbHRAbm90YXRp
b25zLnNlcXVvaWEtcGdwLm9yZ5/DGAdswzzSuwwbe4U1pTp8DzP9LQR4ogHsqHZd
i+D0AxUKCAKZAQKbAQIeCRYhBMJSYkFcIWSyyCADTn+lCw0UQSvXAACb8wD/Q8sO
b3FQGfS/5Mj8PsbbhLRlf4M6dncX6La6DhdOBykA/ApxCGQR9To5ubgYmOPQgx4R
ZrFZjgyNf8/Kk/blBWwIzjMEawkFSxYJKwYBBAHaRw8BAQdALT+X7zoSsopyX4N4
XTsWEAWoL6SA+FbFBGvC9xMpJozCwL8EGBYKATEFgmsJBUsJEH+lCw0UQSvXRxQA
AAAAAB4AIHNhbHRAbm90YXRpb25zLnNlcXVvaWEtcGdwLm9yZ0UikwIjipjeNj9V
vHqULCcTD/HAyTZPwiYLuKQX5eFaApsCvqAEGRYKAG8FgmsJBUsJEOPHFhiNOhj1
RxQAAAAAAB4AIHNhbHRAbm90YXRpb25zLnNlcXVvaWEtcGdwLm9yZ8u/x6V7vPn2
6G0UIOuwDQI992hE9QaQ/3Y+q25NC7xkFiEEH5rWxfabX6FWgXBF48cWGI06GPUA
AOygAQCdeKUQ/MyPdD1UT0osnIv7KXlUiQ+eSTNZ8Pum4zMLtAEA9vzp3ieZFAIc
hCcaVsZNd6IJm8GeVxWlDT1bYGne1gIWIQTCUmJBXCFkssggA05/pQsNFEEr1wAA
i2sA+QF+JwKyAWjD/RQQzHxiFtP7l/S1lp9sYdzpMBVdceTUAQD1URT5fYVop2ZY
qsMBSwxMKG9PBFUeK5kIcAfCnBc0CM44BGsJBUsSCisGAQQBl1UBBQEBB0A9Mu6B
+iQeSYfUM6tpCLzVz19kaJMA6bfEIlvBLCQXIgMBCAfCwAAEGBYKAHIFgmsJBUsJ
EH+lCw0UQSvXRxQAAAAAAB4AIHNhbHRAbm90YXRpb25zLnNlcXVvaWEtcGdwLm9y
Z4HDVi3BKkZEwMeUOhlUF/uyW+nHcvBGDk6uRabczwv5ApsMFiEEwlJiQVwhZLLI
IANOf6ULDRRBK9cAADWeAQC0gC+SlWrkztzI4lirWvdIfWua5His4qzxpmp6d2u3
mQEA2Rgdt15/Gf/IaOClx7duI3HTxTaeI1PIm1MtGz6MhAc=
=QRhP
-----END PGP PUBLIC KEY BLOCK-----
"""


class GnuPG:
    """GnuPG with a directory of its own: keys are made when they are first asked for."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def run(self, *arguments: str, given: bytes = b"") -> bytes:
        """What it prints. Fails if it does."""
        command = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--no-tty", "--yes"]
        command += ["--pinentry-mode", "loopback", "--passphrase", "", "--trust-model", "always"]
        done = subprocess.run([*command, *arguments], input=given, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout

    def make(self, email: str, kind: str = "future-default", ends: str = "never", *options: str) -> bytes:
        """Make a key, and return its public part in armour."""
        self.run(*options, "--quick-gen-key", email, kind, "default", ends)
        return self.public(email)

    def make_of(self, email: str, *lines: str) -> bytes:
        """The same as a parameter file says."""
        text = "\n".join(["%no-protection", *lines, f"Name-Email: {email}", "Expire-Date: 0", "%commit", ""])
        self.run("--gen-key", given=text.encode())
        return self.public(email)

    def public(self, email: str) -> bytes:
        return self.run("--armor", "--export", f"={email}" if "<" in email else email)

    def secret(self, email: str) -> bytes:
        return self.run("--armor", "--export-secret-keys", email)

    def fingerprint(self, email: str) -> str:
        lines = self.run("--with-colons", "--fingerprint", email).decode().splitlines()
        return next(line.split(":")[9] for line in lines if line.startswith("fpr")).lower()

    def revoked(self, email: str) -> bytes:
        """The key after its owner has revoked it."""
        self.make(email)
        saved = self.home / "openpgp-revocs.d" / f"{self.fingerprint(email).upper()}.rev"
        self.run("--import", given=saved.read_bytes().replace(b":-----BEGIN", b"-----BEGIN"))
        return self.public(email)

    def decrypt(self, armoured: bytes) -> bytes:
        return self.run("--decrypt", given=armoured)

    def decrypt_all(self, armoured: Sequence[bytes]) -> list[bytes]:
        """The same for many, in one go."""
        with tempfile.TemporaryDirectory() as directory:
            paths = [Path(directory) / f"{number}.asc" for number in range(len(armoured))]
            for path, content in zip(paths, armoured, strict=True):
                path.write_bytes(content)
            self.run("--multifile", "--decrypt", *map(str, paths))
            return [path.with_suffix("").read_bytes() for path in paths]

    @cached_property
    def alice(self) -> bytes:
        """Alice's key, which does not expire."""
        return self.make(ALICE)


@contextmanager
def gnupg() -> Iterator[GnuPG]:
    # The agent's socket needs a short path.
    home = Path(tempfile.mkdtemp(prefix="gpg-"))
    os.chmod(home, 0o700)
    try:
        yield GnuPG(home)
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)
        shutil.rmtree(home, ignore_errors=True)


def armoured_part(message: bytes) -> bytes:
    """What is encrypted in a PGP/MIME message, which must be one as RFC 3156 has it."""
    read = message_from_bytes(message, policy=policy.default)
    assert read.get_content_type() == "multipart/encrypted"
    assert read.get_param("protocol") == "application/pgp-encrypted"
    version, encrypted = read.iter_parts()
    assert version.get_content_type() == "application/pgp-encrypted"
    assert version.get_payload().strip() == "Version: 1"
    assert encrypted.get_content_type() == "application/octet-stream"
    text = encrypted.get_payload()
    assert isinstance(text, str)
    assert text.startswith("-----BEGIN PGP MESSAGE-----")
    return text.encode("ascii")
