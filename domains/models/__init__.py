"""What is stored about domains."""

from domains.models.dkim_key import DkimKey
from domains.models.dns_check import DnsCheck
from domains.models.domain import (
    ASKER_FIELDS,
    AccessGrant,
    AliasStyle,
    Audience,
    Domain,
    DomainQuerySet,
    asker,
    may_create,
)

__all__ = [
    "ASKER_FIELDS",
    "AccessGrant",
    "AliasStyle",
    "Audience",
    "DkimKey",
    "DnsCheck",
    "Domain",
    "DomainQuerySet",
    "asker",
    "may_create",
]
