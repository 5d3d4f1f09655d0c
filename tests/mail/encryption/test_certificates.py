"""Reading keys that people give: what is taken, what is refused and in which words."""

import base64
import io
import time
import zlib
from datetime import UTC, datetime, timedelta

import pysequoia
import pytest
import time_machine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mail.encryption import certificates, child, packets
from mail.encryption.certificates import KEY_MAX, NotEncrypted, UnusableKey, encrypt, read
from tests.rig.openpgp import ALICE, GnuPG


def packet(tag: int, body: bytes) -> bytes:
    return bytes([0xC0 | tag, 255]) + len(body).to_bytes(4) + body


def rsa(bits: int, tag: int = packets.PUBLIC_KEY, algorithm: int = 1) -> bytes:
    """A key packet whose modulus has so many bits, and nothing more."""
    modulus = (1 << bits - 1 | 1).to_bytes((bits + 7) // 8)
    numbers = bits.to_bytes(2) + modulus + (17).to_bytes(2) + (65537).to_bytes(3)
    return packet(tag, b"\x04" + (1_700_000_000).to_bytes(4) + bytes([algorithm]) + numbers)


def armour(octets: bytes, kind: str = "PUBLIC KEY") -> bytes:
    text = base64.encodebytes(octets).decode()
    return f"-----BEGIN PGP {kind} BLOCK-----\n\n{text}-----END PGP {kind} BLOCK-----\n".encode()


def refusal(octets: bytes) -> str:
    with pytest.raises(UnusableKey) as raised:
        read(octets)
    return str(raised.value)


def test_a_key_is_read_with_its_fingerprint_addresses_and_end(gpg: GnuPG) -> None:
    certificate = read(gpg.alice)

    assert certificate.fingerprint == gpg.fingerprint(ALICE)
    assert certificate.addresses == {ALICE}
    assert certificate.expires_at is None


def test_a_key_is_the_same_with_and_without_armour_and_among_other_text(gpg: GnuPG) -> None:
    bare = gpg.run("--export", ALICE) if gpg.alice else b""

    forms = [bare, gpg.alice, gpg.alice.replace(b"\n", b"\r\n"), b"My key:\n\n" + gpg.alice + b"\n-- \nAlice"]

    assert len({read(form) for form in forms}) == 1


def test_line_ends_and_comments_of_the_armour_do_not_matter(gpg: GnuPG) -> None:
    commented = gpg.alice.replace(b"BLOCK-----\n\n", b"BLOCK-----\nVersion: X 1.0\nComment: mine\n\n", 1)

    assert read(commented) == read(gpg.alice)


def test_the_end_of_a_key_is_that_of_its_part_for_encryption(gpg: GnuPG) -> None:
    before = datetime.now(UTC) + timedelta(days=89)
    key = gpg.make("short@example.com", ends="3m")

    expires_at = read(key).expires_at

    assert expires_at is not None
    assert before < expires_at < before + timedelta(days=3)


def test_a_subkey_that_ends_before_its_key_ends_it(gpg: GnuPG) -> None:
    gpg.run("--quick-gen-key", "parts@example.com", "ed25519", "sign", "2y")
    gpg.run("--quick-add-key", gpg.fingerprint("parts@example.com"), "cv25519", "encr", "10d")

    expires_at = read(gpg.public("parts@example.com")).expires_at

    assert expires_at is not None
    assert expires_at < datetime.now(UTC) + timedelta(days=11)


def test_a_key_lasts_as_long_as_the_last_of_its_parts_for_encryption(gpg: GnuPG) -> None:
    gpg.run("--quick-gen-key", "two@example.com", "ed25519", "sign", "never")
    for ends in ("10d", "20d"):
        gpg.run("--quick-add-key", gpg.fingerprint("two@example.com"), "cv25519", "encr", ends)

    expires_at = read(gpg.public("two@example.com")).expires_at

    assert expires_at is not None
    assert timedelta(days=19) < expires_at - datetime.now(UTC) < timedelta(days=21)


def test_a_key_of_the_newest_version_is_read() -> None:
    key = pysequoia.Tsk.generate("New <new@example.com>", profile=pysequoia.Profile.RFC9580)

    certificate = read(bytes(key.extract_certificate()))

    assert len(certificate.fingerprint) == 64
    assert certificate.addresses == {"new@example.com"}


def test_a_secret_key_is_refused_with_a_warning(gpg: GnuPG) -> None:
    assert gpg.alice

    assert "secret key" in refusal(gpg.secret(ALICE))
    assert "secret key" in refusal(gpg.run("--export-secret-keys", ALICE))


def test_several_keys_are_refused(gpg: GnuPG) -> None:
    other = gpg.make("other@example.com")

    assert "several keys" in refusal(gpg.alice + other)
    assert "several keys" in refusal(gpg.run("--armor", "--export", ALICE, "other@example.com"))
    assert "several keys" in refusal(gpg.run("--export", ALICE, "other@example.com"))


def test_a_key_that_has_expired_is_refused(gpg: GnuPG) -> None:
    key = gpg.make("old@example.com", "future-default", "1d", "--faked-system-time", "20200101T000000")

    assert "expired" in refusal(key)


def test_a_key_that_was_revoked_is_refused(gpg: GnuPG) -> None:
    assert "revoked" in refusal(gpg.revoked("lost@example.com"))


def test_a_key_that_only_signs_is_refused(gpg: GnuPG) -> None:
    gpg.run("--quick-gen-key", "signer@example.com", "ed25519", "sign", "never")

    assert "for encryption" in refusal(gpg.public("signer@example.com"))


def test_a_key_whose_part_for_encryption_was_revoked_is_refused(gpg: GnuPG) -> None:
    gpg.make("half@example.com")
    subkeys = gpg.run("--with-colons", "--list-keys", "half@example.com").decode().splitlines()
    assert any(line.startswith("sub") for line in subkeys)
    commands = b"key 1\nrevkey\ny\n0\n\ny\nsave\n"
    gpg.run("--command-fd", "0", "--edit-key", "half@example.com", given=commands)

    assert "for encryption" in refusal(gpg.public("half@example.com"))


@pytest.mark.parametrize("bits", ["1024", "1536"])
def test_a_short_rsa_key_is_refused(gpg: GnuPG, bits: str) -> None:
    email = f"rsa{bits}@example.com"
    key = gpg.make_of(
        email, "Key-Type: RSA", f"Key-Length: {bits}", "Subkey-Type: RSA", f"Subkey-Length: {bits}"
    )

    assert f"RSA with {bits} bits" in refusal(key)


def test_an_rsa_key_of_2048_bits_is_taken(gpg: GnuPG) -> None:
    key = gpg.make_of(
        "rsa@example.com", "Key-Type: RSA", "Key-Length: 2048", "Subkey-Type: RSA", "Subkey-Length: 2048"
    )

    certificate = read(key)

    assert gpg.decrypt(encrypt(certificate.octets, b"hello")) == b"hello"


def test_dsa_and_elgamal_are_refused(gpg: GnuPG) -> None:
    assert "DSA or ElGamal" in refusal(rsa(2048, algorithm=packets.DSA))
    assert "DSA or ElGamal" in refusal(rsa(3072) + rsa(2048, packets.PUBLIC_SUBKEY, packets.ELGAMAL))


def test_a_key_bound_by_sha1_is_refused(gpg: GnuPG) -> None:
    gpg.make("weak@example.com", "future-default", "never", "--cert-digest-algo", "SHA1")

    assert "SHA-1" in refusal(gpg.public("weak@example.com"))


@pytest.mark.parametrize("bits", [8200, 16384, 30000])
def test_an_enormous_rsa_key_is_refused_before_anything_is_computed(bits: int) -> None:
    began = time.process_time()

    assert f"RSA with {bits} bits" in refusal(rsa(bits))

    assert time.process_time() - began < 1  # seconds; a signature of it takes many


def test_a_key_that_is_too_large_is_refused() -> None:
    assert "64 KiB" in refusal(armour(b"\x99" * KEY_MAX))


@pytest.mark.parametrize(
    "octets",
    [
        rsa(2048) + packet(packets.USER_ID, b"x") * 51,
        rsa(2048) + rsa(2048, packets.PUBLIC_SUBKEY) * 21,
        rsa(2048) + packet(packets.SIGNATURE, b"x") * 400,
        packet(packets.PUBLIC_KEY, b"\x04\0\0\0\0\x1b" + b"\xff" * 5000),
    ],
)
def test_a_key_with_too_many_parts_is_refused(octets: bytes) -> None:
    assert "too many parts" in refusal(octets)


def test_a_key_with_more_parts_for_encryption_than_a_message_can_bear_is_refused(gpg: GnuPG) -> None:
    gpg.make("many@example.com", "ed25519")
    fingerprint = gpg.fingerprint("many@example.com")
    for _each in range(certificates.ENCRYPTING_MAX):
        gpg.run("--quick-add-key", fingerprint, "cv25519", "encr", "never")
    assert read(gpg.public("many@example.com"))

    gpg.run("--quick-add-key", fingerprint, "cv25519", "encr", "never")

    assert "more than 5 parts for encryption" in refusal(gpg.public("many@example.com"))


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\0",
        b"hello",
        "ключ".encode(),
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----",
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n!!!\n-----END PGP PUBLIC KEY BLOCK-----",
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n-----END PGP PUBLIC KEY BLOCK-----",
        armour(b"hello"),
        armour(packet(packets.USER_ID, b"x")),
        armour(packet(packets.PUBLIC_KEY, b"")),
        armour(packet(packets.PUBLIC_KEY, b"\x04")),
        armour(b"\xc6\xff\xff\xff\xff\xff"),  # four billion octets
        armour(b"\xc6\xe1\x04"),  # a partial length
        armour(b"\x9b\x04"),  # an indeterminate one
        armour(packet(packets.PUBLIC_KEY, b"\x09\0\0\0\0\x63" + b"x" * 20)),
        armour(rsa(2048), "MESSAGE"),
        armour(packet(3, b"x") + rsa(2048)),
    ],
)
def test_what_is_no_key_is_refused(octets: bytes) -> None:
    assert "OpenPGP public key" in refusal(octets)


def test_compressed_data_never_reaches_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bomb: ten megabytes of zeros in some hundred octets. Sequoia would unpack them."""
    squeezed = b"\0" * 10_000_000
    for _layer in range(3):
        compressor = zlib.compressobj(9, wbits=-15)
        squeezed = packet(8, b"\x01" + compressor.compress(squeezed) + compressor.flush())
    monkeypatch.setattr(certificates, "_library", lambda refusal: pytest.fail("the library saw it"))

    for octets in (squeezed, rsa(2048) + squeezed, armour(rsa(2048) + squeezed)):
        assert "not an OpenPGP public key" in refusal(octets)


def test_a_key_with_its_octets_changed_is_refused_or_read(gpg: GnuPG) -> None:
    """Nothing else comes out of it: no other exception, no endless loop."""
    bare = gpg.run("--export", ALICE) if gpg.alice else b""
    outcomes = set()
    for at in range(len(bare)):
        changed = bytearray(bare)
        changed[at] ^= 0x55
        try:
            read(bytes(changed))
            outcomes.add("read")
        except UnusableKey:
            outcomes.add("refused")

    assert "refused" in outcomes


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.booleans())
def test_any_octets_are_refused_in_words(octets: bytes, is_armoured: bool) -> None:
    assert refusal(armour(octets) if is_armoured else b"\xc6" + octets)


@pytest.mark.parametrize("size", [0, 1, 5000, certificates.ASIDE, certificates.ASIDE + 1])
def test_what_is_encrypted_is_decrypted_by_gnupg(gpg: GnuPG, size: int) -> None:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)

    assert gpg.decrypt(encrypt(read(gpg.alice).octets, content)) == content


def test_a_key_that_the_library_refuses_encrypts_nothing() -> None:
    for size in (10, certificates.ASIDE + 1):
        with pytest.raises(NotEncrypted):
            encrypt(rsa(2048), b"x" * size)


def test_a_program_that_cannot_start_is_no_refusal(gpg: GnuPG, monkeypatch: pytest.MonkeyPatch) -> None:
    octets = read(gpg.alice).octets
    monkeypatch.setattr("sys.executable", "/nonexistent")

    with pytest.raises(certificates.EncryptionAway):
        encrypt(octets, b"x" * (certificates.ASIDE + 1))


def test_a_program_that_takes_too_long_is_ended(gpg: GnuPG, monkeypatch: pytest.MonkeyPatch) -> None:
    octets = read(gpg.alice).octets
    monkeypatch.setattr(certificates, "ASIDE_SECONDS", 0.0)

    with pytest.raises(certificates.EncryptionAway):
        encrypt(octets, b"x" * (certificates.ASIDE + 1))


def test_a_key_is_over_when_its_time_has_come() -> None:
    ends = datetime(2027, 1, 1, tzinfo=UTC)
    key = certificates.OpenPgpKey(b"", ends, holds_back=True, hides_subject=False)

    with time_machine.travel(ends - timedelta(seconds=1), tick=False):
        assert not key.is_over
    with time_machine.travel(ends, tick=False):
        assert key.is_over
    assert not key._replace(expires_at=None).is_over


def test_a_key_with_a_signature_of_an_unknown_kind_is_refused_in_words(gpg: GnuPG) -> None:
    """The library reads such a key, and fails only when it is asked for the signature's kind."""
    found = list(packets.packets(gpg.run("--export", ALICE) if gpg.alice else b""))
    signature = next(each for each in found[::-1] if each.tag == packets.SIGNATURE)
    odd = packet(packets.SIGNATURE, signature.body[:1] + b"\x85" + signature.body[2:])
    octets = b"".join(packet(each.tag, each.body) for each in found)

    assert "not a valid OpenPGP public key" in refusal(octets + odd)


@pytest.mark.parametrize("size", [10, certificates.ASIDE + 1])
def test_a_lack_of_memory_is_no_refusal(gpg: GnuPG, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Or mail would go out in clear, and the key would end, because this machine was busy."""
    octets = read(gpg.alice).octets

    def lacks_memory(*_arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr(pysequoia, "encrypt", lacks_memory)
    monkeypatch.setattr(certificates, "_encrypt_aside", lambda *given: in_a_child(monkeypatch, *given))
    with pytest.raises(certificates.EncryptionAway if size == 10 else MemoryError):
        encrypt(octets, b"x" * size)


def in_a_child(monkeypatch: pytest.MonkeyPatch, octets: bytes, content: bytes) -> bytes:
    """What the program of its own does, in this process: it must not end with REFUSED."""
    given = io.BytesIO(len(octets).to_bytes(4) + octets + content)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(given))
    return bytes(child.main())
