"""DKIM keys: made, rotated, dropped; and a private key that is nowhere to be read."""

import base64
import json
from datetime import UTC, datetime
from io import StringIO

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.core import serializers
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from anonmail_site.management.commands.housekeeping import CHORES
from core.audit import AuditEntry
from domains.dkim_keys import KeyWaits, TooManyKeys, drop_key, make_keys
from domains.models import DkimKey, DnsCheck, Domain
from tests.rig.dkim_keys import published_keys
from tests.rig.nameserver import FAILS, nameserver
from transfer.installation.exporting import export_config

pytestmark = pytest.mark.django_db


def test_a_domain_gets_a_key_of_each_algorithm(example_com: Domain) -> None:
    rsa, ed25519 = make_keys(example_com)

    today = f"{timezone.now():%Y%m%d}"
    assert [rsa.selector, ed25519.selector] == [f"{today}-rsa", f"{today}-ed25519"]
    assert isinstance(rsa.private, RSAPrivateKey)
    assert rsa.private.key_size == 2048
    assert isinstance(ed25519.private, Ed25519PrivateKey)
    assert ed25519.record_name == f"{today}-ed25519._domainkey.example.com"
    # RFC 8463 §4.2: the octets of the key alone
    assert len(base64.b64decode(ed25519.public)) == 32
    assert rsa.record_text == f"v=DKIM1; k=rsa; p={rsa.public}"


def test_new_keys_are_made_beside_those_that_sign(example_com: Domain) -> None:
    first = published_keys(example_com)

    second = make_keys(example_com)

    assert [key.selector for key in second] == [f"{key.selector}-2" for key in first]
    with pytest.raises(KeyWaits, match=second[0].selector):
        make_keys(example_com)
    DkimKey.objects.update(published=timezone.now())
    with pytest.raises(TooManyKeys):
        make_keys(example_com)
    for key in first:
        drop_key(key)
    assert [key.selector for key in make_keys(example_com)] == [key.selector for key in first]


def test_only_the_algorithms_that_a_domain_uses_are_made_anew(example_com: Domain) -> None:
    _rsa, ed25519 = published_keys(example_com)
    drop_key(ed25519)

    assert [key.algorithm for key in make_keys(example_com)] == ["rsa"]


def test_a_dropped_key_is_missed_by_nobody(example_com: Domain) -> None:
    first, second = make_keys(example_com)
    missing = {"state": "missing", "reason": "", "found": []}
    DnsCheck.objects.create(domain=example_com, findings={first.selector: missing, second.selector: missing})

    drop_key(first)

    assert set(DnsCheck.objects.get().findings) == {second.selector}
    assert list(DkimKey.objects.all()) == [second]


def private_texts(key: DkimKey) -> list[str]:
    """The private key in the forms in which it could be written somewhere."""
    pem = key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return [line for line in pem.splitlines() if not line.startswith("-")] + [key.sealed, key.sealed[:40]]


def test_no_page_export_or_log_has_a_private_key(
    example_com: Domain, alice: User, root: User, boss: Client, caplog: pytest.LogCaptureFixture
) -> None:
    keys = published_keys(example_com)
    example_com.managers.add(alice)
    answers = [
        boss.get(path, follow=True)
        for path in (
            "/domains/example.com/dns/",
            f"/domains/example.com/dns/keys/{keys[0].pk}/drop/",
            f"/admin/domains/domain/{example_com.pk}/change/",
            f"/admin/domains/domain/{example_com.pk}/delete/",
            "/admin/domains/domain/",
            "/account/everything.json",
        )
    ]
    told = [
        json.dumps(export_config()),
        "\n".join(answer.content.decode() for answer in answers),
        run("example.com"),
        repr(keys),
        caplog.text,
    ]

    assert all(answer.status_code == 200 for answer in answers)
    for key in keys:
        for text in private_texts(key):
            assert not any(text in one for one in told)
    # What a copy of the database has cannot be read without the SECRET_KEY.
    dumped = serializers.serialize("json", DkimKey.objects.all())
    assert not any(text in dumped for key in keys for text in private_texts(key)[:-2])


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("dkim_key", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_makes_lists_rotates_and_drops(example_com: Domain) -> None:
    assert run("example.com") == "example.com has no DKIM keys.\n"
    with pytest.raises(CommandError, match=r"^example\.com has no keys yet: use --make\.$"):
        run("example.com", "--rotate")

    made = run("EXAMPLE.com", "--make")

    rsa, ed25519 = DkimKey.objects.all()
    assert made == run("example.com")
    first, second = made.strip().split("\n\n")
    assert first.splitlines()[0] == f"{rsa.selector}: not in the DNS yet (not checked yet)"
    assert second.splitlines()[1] == f'{ed25519.record_name}. IN TXT "{ed25519.record_text}"'
    # A TXT record's string has at most 255 octets.
    line = first.splitlines()[1]
    strings = line.split('"')[1::2]
    assert "".join(strings) == rsa.record_text
    assert max(map(len, strings)) == 255
    with pytest.raises(CommandError, match=r"^example\.com has keys already: use --rotate\.$"):
        run("example.com", "--make")
    with pytest.raises(CommandError, match=r"is not in the DNS yet\. Add its record, or delete the key\.$"):
        run("example.com", "--rotate")

    DkimKey.objects.update(published=datetime(2026, 11, 1, tzinfo=UTC))
    assert f"{rsa.selector}: signs since 2026-11-01" in run("example.com", "--rotate")
    DkimKey.objects.filter(published=None).update(published=datetime(2026, 11, 20, tzinfo=UTC))
    assert f"{rsa.selector}: replaced on 2026-11-20" in run("example.com")

    run("example.com", "--drop", rsa.selector)

    assert DkimKey.objects.count() == 3
    with pytest.raises(CommandError, match="has no key"):
        run("example.com", "--drop", rsa.selector)
    assert AuditEntry.objects.filter(action="dkimkey.add").count() == 4
    assert AuditEntry.objects.filter(action="dkimkey.delete", actor=None).count() == 1


def test_the_command_asks_the_dns(example_com: Domain, settings: Settings) -> None:
    rsa, _ed25519 = make_keys(example_com)
    with nameserver() as server:
        settings.DNS_RESOLVERS = [f"127.0.0.1:{server.port}"]
        text = rsa.record_text
        server.set(rsa.record_name, f'TXT "{text[:200]}" "{text[200:]}"')

        said = run("example.com", "--check")

    assert f"{rsa.selector}: signs since" in said
    assert "not in the DNS yet (missing)" in said


def test_a_key_of_another_secret_key_says_so(example_com: Domain, settings: Settings) -> None:
    published_keys(example_com)
    settings.SECRET_KEY = "another-" + "x" * 60

    assert run("example.com").count("created under another SECRET_KEY, cannot sign") == 2
    # and can be replaced
    assert run("example.com", "--rotate").count("not in the DNS yet") == 2


def test_every_domain_is_checked_daily(example_com: Domain, other_org: Domain, settings: Settings) -> None:
    out = StringIO()
    with nameserver({"example.com": FAILS, "mx.example.com": FAILS, "_dmarc.example.com": FAILS}) as server:
        settings.DNS_RESOLVERS = [f"127.0.0.1:{server.port}"]
        call_command("check_dns", stdout=out)

    assert "check_dns" in CHORES
    assert out.getvalue() == (
        "Checked the DNS of 2 domains: 1 with records to correct, 1 without an answer.\n"
    )
    assert DnsCheck.objects.count() == 2
