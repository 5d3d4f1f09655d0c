"""The DMARC policy of a domain (RFC 9989)."""

import re
from dataclasses import dataclass

from core.public_suffixes import registrable_domain
from domains.dns.lookup import Lookups

_VERSION = re.compile(r"v\s*=\s*DMARC1\s*(;|$)")
POLICIES = ("none", "quarantine", "reject")


@dataclass(frozen=True)
class Published:
    """The DMARC records that apply to a domain, and the name they are at."""

    name: str
    records: list[str]


def record_name(domain: str) -> str:
    return f"_dmarc.{domain}"


async def records_for(lookups: Lookups, domain: str) -> Published:
    """The domain's records; if it has none, those of its organizational domain. Raises Unanswered."""
    names = [record_name(domain)]
    parent = registrable_domain(domain)
    if parent and parent != domain:
        names.append(record_name(parent))
    for name in names:
        if records := [text for text in await lookups.texts(name) if _VERSION.match(text)]:
            return Published(name, records)
    return Published(names[0], [])


def policy_of(record: str) -> str:
    """The policy in the record, or "" if it has none that is valid."""
    tags = dict(_tag(part) for part in record.split(";"))
    policy = tags.get("p", "").lower()
    return policy if policy in POLICIES else ""


def _tag(part: str) -> tuple[str, str]:
    name, _equals, value = part.partition("=")
    return name.strip().lower(), value.strip()
