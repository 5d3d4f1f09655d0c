"""What the DNS says about each of a domain's records, compared with what it should say."""

import asyncio
import re
from collections.abc import Awaitable
from dataclasses import dataclass
from ipaddress import ip_address

from domains.dns import dmarc, spf
from domains.dns.lookup import TEXT_MAX, Address, Lookups, Unanswered
from domains.dns.services import Service
from domains.models.dns_check import Finding, State

MX, SPF, DMARC = "mx", "spf", "dmarc"
# What is kept of the records that were found. The page offers an SPF record again, so it has to be whole.
_FOUND_MAX = 5
_CHARACTERS_MAX = TEXT_MAX
# Hosts of a domain's MX records whose addresses are asked for.
_EXCHANGES_MAX = 10
# Addresses from which nobody sends: reserved (RFC 1112 §4), and for discarding (RFC 6666).
STRANGERS = (ip_address("240.0.0.1"), ip_address("100::1"))


@dataclass(frozen=True)
class PublicKey:
    """What a DKIM key's record must contain."""

    record_name: str
    algorithm: str
    public: str


@dataclass(frozen=True)
class Expected:
    """What is looked for: the domain, the host that should receive and send its mail ("" if that has no name
    in the DNS, as `localhost`), its DKIM keys by their selectors, and the services that are offered."""

    domain: str
    host: str
    keys: dict[str, PublicKey]
    services: list[Service]


async def examine(expected: Expected) -> dict[str, Finding]:
    """The finding for each record. Takes at most domains.dns.lookup.DEADLINE seconds."""
    lookups = Lookups()
    tasks: dict[str, Awaitable[Finding]] = {
        MX: _exchange(lookups, expected),
        SPF: _sender_policy(lookups, expected),
        DMARC: _dmarc(lookups, expected.domain),
    }
    tasks |= {selector: _key(lookups, key) for selector, key in expected.keys.items()}
    tasks |= {service.label: _service(lookups, expected, service) for service in expected.services}
    found = await asyncio.gather(*map(_answered, tasks.values()))
    return dict(zip(tasks, found, strict=True))


async def _answered(finding: Awaitable[Finding]) -> Finding:
    try:
        return await finding
    except Unanswered:
        return Finding(State.UNANSWERED)


def _different(reason: str, found: list[str]) -> Finding:
    return Finding(State.DIFFERENT, reason, _kept(found))


def _kept(found: list[str]) -> list[str]:
    return [text[:_CHARACTERS_MAX] for text in found[:_FOUND_MAX]]


async def _exchange(lookups: Lookups, expected: Expected) -> Finding:
    hosts, own = await asyncio.gather(lookups.exchanges(expected.domain), lookups.addresses(expected.host))
    if not hosts:
        return Finding(State.MISSING)
    if hosts == [""]:
        return _different("no-mail", [])
    if expected.host in hosts:
        return Finding(State.RIGHT, found=_kept(hosts)) if own else _different("no-address", hosts)
    others = await asyncio.gather(*map(lookups.addresses, hosts[:_EXCHANGES_MAX]))
    if any(own & theirs for theirs in others):
        return Finding(State.RIGHT, found=_kept(hosts))
    return Finding(State.ELSEWHERE, "elsewhere", _kept(hosts))


async def _sender_policy(lookups: Lookups, expected: Expected) -> Finding:
    texts, own = await asyncio.gather(lookups.texts(expected.domain), lookups.addresses(expected.host))
    records = spf.records_among(texts)
    if not records:
        return Finding(State.MISSING)
    if len(records) > 1:
        return _different("several", records)

    async def may_send(address: Address) -> bool:
        policy = spf.Policy(lookups, address, expected.domain)
        return await policy.check(expected.domain) is spf.Result.PASS

    try:
        if any([await may_send(address) for address in STRANGERS]):
            return _different("everyone", records)
        if not own:
            return _different("no-address", records)
        if not all([await may_send(address) for address in own]):
            return _different("not-listed", records)
    except spf.InvalidPolicy:
        return _different("invalid", records)
    return Finding(State.RIGHT, found=_kept(records))


async def _dmarc(lookups: Lookups, domain: str) -> Finding:
    published = await dmarc.records_for(lookups, domain)
    if not published.records:
        return Finding(State.MISSING)
    if len(published.records) > 1:
        return _different("several", published.records)
    if not dmarc.policy_of(published.records[0]):
        return _different("invalid", published.records)
    reason = "" if published.name == dmarc.record_name(domain) else "inherited"
    return Finding(State.RIGHT, reason, _kept(published.records))


async def _service(lookups: Lookups, expected: Expected, service: Service) -> Finding:
    found = await lookups.services(f"{service.label}.{expected.domain}")
    if not found:
        return Finding(State.ABSENT)
    if (expected.host, service.port) in found:
        return Finding(State.RIGHT)
    return _different("other-server", [f"{host}:{port}" for host, port in found])


async def _key(lookups: Lookups, key: PublicKey) -> Finding:
    texts = await lookups.texts(key.record_name)
    if not texts:
        return Finding(State.MISSING)
    if len(texts) > 1:
        return _different("several", texts)
    reason = _fault_of_key(texts[0], key)
    if reason and reason != "testing":
        return _different(reason, texts)
    return Finding(State.RIGHT, reason, _kept(texts))


def _fault_of_key(record: str, key: PublicKey) -> str:
    """What is wrong with a key's record (RFC 6376 §3.6.1), "" for nothing."""
    parts = (part.partition("=") for part in record.split(";"))
    tags = {name.strip(): re.sub(r"\s", "", value) for name, equals, value in parts if equals}
    is_for_mail = {"*", "email"} & set(tags.get("s", "*").split(":"))
    if tags.get("v", "DKIM1") != "DKIM1" or "p" not in tags or not is_for_mail:
        return "invalid"
    if not tags["p"]:
        return "revoked"
    if tags["p"] != key.public or tags.get("k", "rsa") != key.algorithm:
        return "other-key"
    if "sha256" not in tags.get("h", "sha256").split(":"):
        return "invalid"
    return "testing" if "y" in tags.get("t", "").split(":") else ""
