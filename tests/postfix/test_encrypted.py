"""Mail to a destination with an OpenPGP key through a real Postfix, decrypted by GnuPG."""

import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from accounts.models import User
from domains.models import Domain
from mail.encryption.keys import give_key
from mail.models import DestinationKey
from tests.postfix.conftest import Site
from tests.postfix.sender import ACCEPTED, figures, issue, send, settled
from tests.postfix.test_hidden import BODIES, HEADER, hiding
from tests.rig.dkim_keys import published_keys
from tests.rig.dkim_verifiers import verified_by_dkimpy, verified_by_opendkim
from tests.rig.openpgp import GnuPG, armoured_part


def deferred(site: Site) -> str:
    """What Postfix says of the message that waits, once it has tried."""
    deadline = time.monotonic() + 20
    while True:
        said = str(site.postfix.queue())
        if "delay_reason" in said or time.monotonic() > deadline:
            return said
        time.sleep(0.1)


@pytest.mark.parametrize("kind", BODIES)
def test_what_arrives_is_encrypted_signed_and_whole(
    alice: User, example_com: Domain, site: Site, gpg: GnuPG, kind: str, tmp_path: Path
) -> None:
    keys = published_keys(example_com)
    alias = hiding(alice)
    give_key(alias.destination_addresses[0], gpg.alice)

    told = send(site, alias.address, content=HEADER + BODIES[kind], options="BODY=8BITMIME")

    assert [answer[:9] for answer in told.data] == [ACCEPTED]
    (arrived,) = settled(site, 1)
    inside = gpg.decrypt(armoured_part(arrived.content))
    assert inside.endswith(b"\r\n\r\n" + BODIES[kind])
    header, _line, body = arrived.content.partition(b"\r\n\r\n")
    assert BODIES[kind] not in body
    signed = header[header.index(b"DKIM-Signature:") :] + b"\r\n\r\n" + body
    assert verified_by_dkimpy(signed, keys) == [True, True]
    assert verified_by_opendkim(tmp_path, {"encrypted": signed}, keys) == {"encrypted": ["rsa", "ed25519"]}
    assert figures(alias) == (1, 0)


def test_an_alias_that_forwards_as_it_came_leaves_the_milters_short_way(
    alice: User, site: Site, gpg: GnuPG
) -> None:
    alias = issue(alice)
    give_key(alias.destination_addresses[0], gpg.alice)

    send(site, alias.address, content=HEADER + BODIES["plain"], options="BODY=8BITMIME")

    (arrived,) = settled(site, 1)
    assert gpg.decrypt(armoured_part(arrived.content)).endswith(BODIES["plain"])
    assert figures(alias) == (1, 0)


def test_a_message_waits_in_the_queue_until_the_key_is_renewed(alice: User, site: Site, gpg: GnuPG) -> None:
    alias = issue(alice)
    (address,) = alias.destination_addresses
    give_key(address, gpg.alice)
    DestinationKey.objects.update(expires_at=timezone.now() - timedelta(days=1))

    send(site, alias.address, content=HEADER + BODIES["plain"], options="BODY=8BITMIME")
    assert "450" in deferred(site)
    assert (figures(alias), site.sink.arrived) == ((0, 0), [])
    give_key(address, gpg.alice)
    site.postfix.flush()

    (arrived,) = settled(site, 1)
    assert gpg.decrypt(armoured_part(arrived.content)).endswith(BODIES["plain"])
