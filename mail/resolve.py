"""What an address is, in one statement by unique index; nothing for domains that are not ours."""

import time
from dataclasses import dataclass
from enum import Enum
from threading import Lock

from django.db import models
from django.db.models import BooleanField, ExpressionWrapper

from accounts.addresses import Address, AddressError, parse_address, without_tag
from aliases.models import RECEIVING, Alias
from core.prepared import Prepared
from domains.models import Domain
from mail.return_path import looks_like_one

# RFC 5321 §4.5.1 and RFC 2142 §4: these reach a person, always.
ROLES = frozenset({"postmaster", "abuse"})
# Seconds for which the names of our domains are remembered.
DOMAINS_REMEMBERED = 5.0


class Kind(Enum):
    """What becomes of mail to an address."""

    FORWARD = "forward"
    BLOCKED = "blocked"
    UNKNOWN = "unknown"
    ROLE = "role"
    RETURN_PATH = "return path"
    NOT_OURS = "not ours"


@dataclass(frozen=True)
class Resolution:
    """An address, and what it is. `alias_id` where there is an alias; `address` as it is looked up."""

    kind: Kind
    address: Address | None = None
    alias_id: int | None = None
    is_shared: bool = False


class OurDomains:
    """The names of our domains, remembered for some seconds; while the database is away the last known."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._shared: dict[str, bool] = {}
        self._asked = float("-inf")

    def shared(self) -> dict[str, bool]:
        """Each of our domains, and whether it has ordinary mailboxes too. Raises OperationalError
        where the database is away and was never asked."""
        with self._lock:
            now = time.monotonic()
            if now - self._asked >= DOMAINS_REMEMBERED:
                try:
                    self._shared = dict(Domain.objects.values_list("name", "is_shared"))
                except Exception:
                    if not self._shared:
                        raise
                self._asked = now
            return self._shared

    def forget(self) -> None:
        """Ask anew next time."""
        self._asked = float("-inf")


our_domains = OurDomains()

_FIND = Prepared(
    lambda address: Alias.objects.filter(address=address).values_list(
        "pk", ExpressionWrapper(RECEIVING, BooleanField())
    ),
    address=models.CharField(),
)


def resolve(text: str) -> Resolution:
    """What the address is: in any case, its `+tag` ignored, its domain as U-labels or A-labels.

    Raises OperationalError while the database is away and it matters.
    """
    try:
        address = without_tag(parse_address(text))
    except AddressError:
        return Resolution(Kind.NOT_OURS)
    shared = our_domains.shared().get(address.domain)
    if shared is None:
        return Resolution(Kind.NOT_OURS, address)
    if address.local_part in ROLES:
        return Resolution(Kind.ROLE, address, is_shared=shared)
    if looks_like_one(address.local_part):
        return Resolution(Kind.RETURN_PATH, address, is_shared=shared)
    for alias_id, receives in _FIND(address=str(address)):
        return Resolution(Kind.FORWARD if receives else Kind.BLOCKED, address, alias_id, shared)
    return Resolution(Kind.UNKNOWN, address, is_shared=shared)
