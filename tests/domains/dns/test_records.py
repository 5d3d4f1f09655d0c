"""The records to set, as a page and a zone file have them."""

import dns.rrset
import pytest
from pytest_django import Settings

from domains.dns.checking import check
from domains.dns.records import Record, rows_for
from domains.models import Domain
from tests.rig.nameserver import Nameserver

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("length", range(240, 260))
def test_a_zone_file_has_the_value_whole(length: int) -> None:
    """Wherever the quotation marks are at which the text is split into strings."""
    value = "x" * length + '"\\"'

    line = Record("example.com", "TXT", value).zone_line

    name, _class, _type, data = line.split(" ", 3)
    (row,) = dns.rrset.from_text(name, 60, "IN", "TXT", data)
    assert b"".join(row.strings).decode() == value
    assert max(map(len, row.strings)) <= 255


@pytest.mark.parametrize("ending", ["a:mx.example.com -all", "-all"], ids=["right", "lacks this server"])
def test_a_long_policy_is_shown_to_its_end(example_com: Domain, dns: Nameserver, ending: str) -> None:
    listed = " ".join(f"ip4:192.0.2.{number}" for number in range(100, 250))
    parts = [f"v=spf1 {listed} {ending}"[start : start + 250] for start in range(0, 3000, 250)]
    dns.set("mx.example.com", "A 192.0.2.25")
    dns.set("example.com", "TXT " + " ".join(f'"{part}"' for part in parts if part))
    check(example_com)

    (spf,) = (row for row in rows_for(Domain.objects.get()) if row.kind == "spf")

    assert spf.record is not None
    assert listed in spf.record.value
    assert spf.record.value.endswith("-all")


def test_services_have_records_for_the_ports_that_others_reach(
    example_com: Domain, settings: Settings
) -> None:
    settings.MAIL_HOSTNAME = "mx.example.com"
    settings.MAIL_SUBMISSION_TLS_LISTEN, settings.MAIL_SUBMISSION_LISTEN = "[::]:465", "192.0.2.1:587"

    lines = [row.record.zone_line for row in rows_for(example_com) if row.kind == "service" and row.record]

    assert lines == [
        "_submissions._tcp.example.com. IN SRV 0 1 465 mx.example.com.",
        "_submission._tcp.example.com. IN SRV 0 1 587 mx.example.com.",
    ]
    settings.MAIL_SUBMISSION_TLS_LISTEN, settings.MAIL_SUBMISSION_LISTEN = "", "127.0.0.1:2587"
    assert "service" not in {row.kind for row in rows_for(example_com)}
