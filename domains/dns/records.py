"""The records that a domain should have, and for each what the last check found."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.utils.functional import cached_property

from core.addresses import domain_or_none
from domains.dns import dmarc
from domains.dns.examining import DMARC, MX, SPF
from domains.dns.services import Service, services
from domains.dns.words import SENTENCES
from domains.models.dkim_key import DkimKey
from domains.models.dns_check import DnsCheck, Finding, State
from domains.models.domain import Domain

# Octets of one string of a TXT record (RFC 1035 §3.3).
_STRING_MAX = 255
_PREFERENCE = 10


def mail_host() -> str:
    """This server's name in the DNS, where mail for its domains should arrive; "" if it has none."""
    return domain_or_none(settings.MAIL_HOSTNAME) or ""


@dataclass(frozen=True)
class Record:
    """A record to set; of an MX or SRV record, `value` is the host and `preference` the priority."""

    name: str
    type: str
    value: str
    preference: int | None = None
    weight: int | None = None
    port: int | None = None

    @property
    def zone_line(self) -> str:
        """The record as a line of a zone file (RFC 1035 §5.1)."""
        if self.type == "MX":
            data = f"{self.preference} {self.value}."
        elif self.type == "SRV":
            data = f"{self.preference} {self.weight} {self.port} {self.value}."
        else:
            starts = range(0, len(self.value), _STRING_MAX)
            parts = [self.value[start : start + _STRING_MAX] for start in starts]
            data = " ".join(f'"{_escaped(part)}"' for part in parts)
        return f"{self.name}. IN {self.type} {data}"


def _escaped(string: str) -> str:
    return string.replace("\\", "\\\\").replace('"', '\\"')


@dataclass(frozen=True)
class Row:
    """What a domain's page says of one record. Without a host name of ours, there is no MX to set."""

    kind: str
    finding: Finding | None
    record: Record | None
    key: DkimKey | None = None
    # When a newer key began to sign in place of this one.
    replaced: Any = None

    @cached_property
    def sentence(self) -> str:
        """Why the record is as it is."""
        reason = self.finding.reason if self.finding else ""
        return str(SENTENCES[reason]) % {"host": mail_host() or settings.MAIL_HOSTNAME} if reason else ""

    @property
    def is_right(self) -> bool:
        return self.finding is not None and self.finding.state == State.RIGHT


def rows_for(domain: Domain) -> list[Row]:
    """The records of the domain, with what the last check found."""
    check: DnsCheck | None = getattr(domain, "dns_check", None)

    def finding(record: str) -> Finding | None:
        return check.finding(record) if check else None

    exchange, policy, answer = finding(MX), finding(SPF), finding(DMARC)
    host = mail_host()
    mx = Record(domain.name, "MX", host, _PREFERENCE) if host else None
    spf = Record(domain.name, "TXT", _sender_policy(domain, exchange, policy)) if host else None
    dmarc_record = Record(dmarc.record_name(domain.name), "TXT", _current(answer) or "v=DMARC1; p=none")
    return [
        Row(MX, exchange, mx),
        Row(SPF, policy, spf),
        *_keys(domain, finding),
        Row(DMARC, answer, dmarc_record),
        *(_service(domain, service, finding(service.label)) for service in services() if host),
    ]


def _service(domain: Domain, service: Service, finding: Finding | None) -> Row:
    name = f"{service.label}.{domain.name}"
    record = Record(name, "SRV", mail_host(), preference=0, weight=1, port=service.port)
    return Row("service", finding, record)


def _keys(domain: Domain, finding: Any) -> Iterator[Row]:
    keys = list(domain.dkim_keys.all())
    for number, key in enumerate(keys):
        newer = [later.published for later in keys[number + 1 :] if later.algorithm == key.algorithm]
        replaced = min(filter(None, newer), default=None)
        record = Record(key.record_name, "TXT", key.record_text)
        yield Row("dkim", finding(key.selector), record, key, replaced)


def _current(finding: Finding | None) -> str:
    """The record that is there, if it is right."""
    return finding.found[0] if finding and finding.state == State.RIGHT and finding.found else ""


def _sender_policy(domain: Domain, exchange: Finding | None, policy: Finding | None) -> str:
    """The SPF record to set: what is there, if it is right or lacks only this server."""
    if current := _current(policy):
        return current
    if policy and policy.reason == "not-listed" and policy.found:
        return re.sub("^v=spf1", f"v=spf1 a:{mail_host()}", policy.found[0], flags=re.IGNORECASE)
    arrives_here = exchange is None or exchange.state != State.ELSEWHERE
    sender = "mx" if arrives_here else f"a:{mail_host()}"
    # Others may send from a domain that has mailboxes.
    return f"v=spf1 {sender} {'~all' if domain.is_shared else '-all'}"
