"""Programs that verify DKIM signatures and are not ours, and odd messages to sign."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import dkim
import pytest

from domains.models import DkimKey
from tests.conftest import missing


def python_messages() -> dict[str, bytes]:
    """The messages of Python's own e-mail tests, each with a From and CRLF at each line end."""
    test_email = pytest.importorskip("test.test_email", reason="Python's own tests are not installed")
    found = {}
    for path in sorted((Path(test_email.__file__).parent / "data").glob("msg_*.txt")):
        content = re.sub(rb"\r\n|\r|\n", b"\r\n", path.read_bytes())
        # A mailbox file's first line is no part of the message.
        content = re.sub(rb"\AFrom [^\r\n]*\r\n", b"", content)
        found[path.stem] = content
    assert len(found) >= 40
    return found


FIELDS = {
    "as it is": b"",
    "SMTPUTF8": "Subject: Grüße an alle\r\nFrom: Zoë <a.b@example.com>\r\n".encode(),
    "odd": (
        b"X-Empty:\r\nSUBJECT :  two  spaces \t\r\n\t and \r\n  folded \r\n"
        b"From: a.b@example.com\r\nX: \r\n y\r\n"
    ),
    "doubled": b"To: one@x.test\r\nTo: two@x.test\r\nReceived: from x\r\nReceived: from y\r\n",
}
BODIES = {
    "as it is": b"",
    "8-bit": "Grüße 📬\r\n".encode() + b"\xe4\xf6\xfc\r\n",
    "long lines": b"x" * 5_000 + b"\r\n.\r\n..\r\n" + b"y" * 60_000 + b"\r\n",
    "white space": b" \t \r\nend  \t\r\n  \t  two\ttabs\t\t\r\n \r\n\r\n\r\n",
    "no line end": b"the end \t",
}


def corpus() -> dict[str, bytes]:
    """Python's messages, each with other fields on top and another end."""
    made = {}
    kinds = [*zip(FIELDS, BODIES, strict=False), ("as it is", "white space"), ("as it is", "no line end")]
    for name, content in python_messages().items():
        for fields, body in kinds:
            top = FIELDS[fields]
            if b"\nfrom:" not in (b"\n" + top + content.partition(b"\r\n\r\n")[0]).lower():
                top += b"From: a.b@example.com\r\n"
            made[f"{name}, {fields}, {body}"] = top + content + BODIES[body]
    return made


def verified_by_dkimpy(message: bytes, keys: list[DkimKey]) -> list[bool]:
    """Of each signature, from the top, whether it is good."""
    records = {f"{key.record_name}.".encode(): key.record_text.encode() for key in keys}

    def look_up(name: bytes, timeout: int) -> bytes:
        return records[name]

    return [dkim.DKIM(message).verify(idx=number, dnsfunc=look_up) for number in range(len(keys))]


def verified_by_opendkim(
    directory: Path, messages: dict[str, bytes], keys: list[DkimKey]
) -> dict[str, list[str]]:
    """For each message, the algorithms of the signatures that OpenDKIM finds good."""
    opendkim = shutil.which("opendkim", path=f"{os.environ['PATH']}:/usr/sbin")
    if opendkim is None:
        missing("OpenDKIM (Debian: apt install opendkim)")
    public, configuration = directory / "keys", directory / "opendkim.conf"
    public.write_text("".join(f"{key.record_name} {key.record_text}\n" for key in keys))
    configuration.write_text(f"Mode v\nTestPublicKeys {public}\n")
    files = {}
    for number, (name, message) in enumerate(messages.items()):
        files[name] = directory / f"{number}.eml"
        files[name].write_bytes(message)
    command = [str(opendkim), "-x", str(configuration), "-t", ",".join(map(str, files.values())), "-vv"]
    told = subprocess.run(command, capture_output=True, check=False, timeout=120)
    # What it found in a file comes before the file's name.
    said = re.split(r"opendkim: \S+/([0-9]+)\.eml: ", told.stdout.decode("utf-8", "replace"))
    found: dict[str, list[str]] = {name: [] for name in messages}
    for result, number in zip(said[::2], said[1::2], strict=False):
        good = re.findall(r"dkim=pass[^;]* header\.a=([a-z0-9]+)-sha256", result)
        found[list(messages)[int(number)]] += good
    return found


def as_received(message: bytes) -> bytes:
    """The message as SMTP brings it: its last line has an end (RFC 5321 §4.1.1.4)."""
    return message if message.endswith(b"\r\n") else message + b"\r\n"
