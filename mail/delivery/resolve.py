"""What addresses are: one statement by unique index, and none for domains that are not ours."""

import json
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import BooleanField, Exists, ExpressionWrapper, OuterRef
from django.utils import timezone

from aliases.by_mail import Chance, chances, make
from aliases.models import Admits, Alias, NameSpace, SenderDomain
from aliases.models.alias_queryset import RECEIVING
from contacts.addresses import correspondent_in_tag, looks_like_reverse
from contacts.models import Contact
from core.addresses import Address, AddressError, domain_to_ascii, parse_without_tag
from core.db.compiled import CompiledQuery
from core.disk import write_over
from core.public_suffixes import registrable_domain
from core.sparing_logs import warn_sparingly
from domains.models import Domain
from mail.delivery.database import call_with_database
from mail.delivery.return_path import looks_like_one, read_return_path
from rules.models import has_rules

logger = logging.getLogger(__name__)

# RFC 5321 §4.5.1 and RFC 2142 §4: these reach a person, always.
ROLES = frozenset({"postmaster", "abuse"})
# An existing Postfix routes alias@example.com to us as alias@example.com.anonmail.invalid, so that
# the mailboxes of example.com keep their own way (postfix/existing.py).
ROUTE = ".anonmail.invalid"
# Seconds for which the names of our domains are remembered: a new one may be unknown for that time.
DOMAINS_REMEMBERED = 1.0


class Kind(Enum):
    """What becomes of mail to an address."""

    FORWARD = "forward"
    BLOCKED = "blocked"
    # Blocked, because a rule of its owner's has ended it with a message, which may come again.
    ENDED = "ended"
    UNKNOWN = "unknown"
    ROLE = "role"
    RETURN_PATH = "return path"
    REVERSE = "reverse address"
    NOT_OURS = "not ours"
    # No alias yet: mail makes it (aliases.by_mail), or will once its name space has room again.
    NEW = "new"
    FULL = "full"


UNMADE = (Kind.NEW, Kind.FULL)


@dataclass(frozen=True)
class Resolution:
    """An address, and what it is. `alias_id` if there is an alias; `address` as it is looked up.

    `contact_id`: for whom a reverse address stands, or who is blocked. The others are the alias's: how it
    forwards, whose mail it takes, for which website it is, whether it has contacts, or blocked ones among
    them, whether it has blocked whole domains, and whether its owner has rules. `correspondent`: to whom the
    message goes if the alias's owner has written it, as addy.io's form of a tag says.
    """

    kind: Kind
    address: Address | None = None
    alias_id: int | None = None
    is_shared: bool = False
    contact_id: int | None = None
    correspondent: str = ""
    hides_replies: bool = False
    admits: str = Admits.ALL
    hostname: str = ""
    has_contacts: bool = False
    has_blocked: bool = False
    has_blocked_domains: bool = False
    has_rules: bool = False

    @property
    def asks_for_proof(self) -> bool:
        """Whether what becomes of a message depends on who has written it."""
        is_alias = self.kind in (Kind.FORWARD, Kind.NEW)
        return self.kind is Kind.REVERSE or (is_alias and bool(self.correspondent))

    @property
    def as_written(self) -> str:
        """The address in its one form, with a tag that names a correspondent."""
        if self.address is None or not self.correspondent:
            return str(self.address or "")
        user, _at, domain = self.correspondent.rpartition("@")
        return f"{self.address.local_part}+{user}={domain}@{self.address.domain}"

    @property
    def site(self) -> str:
        """The registrable domain of the website that the alias is for, or ""."""
        return registrable_domain(self.hostname) if self.hostname else ""


class OurDomains:
    """The names of our domains, at most a moment old; while the database is away, the last known ones.

    After `keep` a thread reads them again and again, so that no question waits for the database to learn
    that a domain is not ours. A file remembers them for a restart without the database.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shared: dict[str, bool] | None = None
        self._catching: frozenset[str] | None = None
        self._asked = float("-inf")
        self._kept = False
        self._file: Path | None = None

    def shared(self) -> dict[str, bool]:
        """Each of our domains, and whether it has ordinary mailboxes too. Raises OperationalError
        if the database is away and they were never read."""
        if self._shared is None or (not self._kept and time.monotonic() - self._asked >= DOMAINS_REMEMBERED):
            with self._lock:
                self._ask()
        return self.last_known

    @property
    def last_known(self) -> dict[str, bool]:
        """The same as when it was last asked for."""
        return self._shared or {}

    def may_catch(self, domain: str) -> bool:
        """Whether mail may make aliases there, as when the domains were last asked for."""
        return self._catching is None or domain in self._catching

    def known(self) -> dict[str, bool] | None:
        """The same without asking the database; None if that is not possible."""
        return self._shared if self._kept else None

    def _ask(self) -> None:
        try:
            rows = list(Domain.objects.values_list("name", "is_shared", _CATCHES))
        except Exception:
            if self._shared is None:
                raise
        else:
            found = {name: is_shared for name, is_shared, _catches in rows}
            self._catching = frozenset(name for name, _is_shared, catches in rows if catches)
            if found != self._shared:
                self._shared = found
                self._remember(found)
        self._asked = time.monotonic()

    def keep(self, file: Path) -> None:
        """Read them again and again, in a thread of this process."""
        self._file = file
        try:
            remembered = json.loads(file.read_text())
            self._shared = {str(name): bool(is_shared) for name, is_shared in remembered.items()}
        except (OSError, ValueError, AttributeError):
            self._shared = None
        self._kept = True
        threading.Thread(target=self._keep, name="our-domains", daemon=True).start()

    def _keep(self) -> None:
        while True:
            try:
                call_with_database(self._ask)
            except Exception as error:
                warn_sparingly(logger, "domains not read: %s", type(error).__name__)
            time.sleep(DOMAINS_REMEMBERED)

    def _remember(self, found: dict[str, bool]) -> None:
        if self._file is None:
            return
        try:
            # Several processes may write at once.
            write_over(self._file, json.dumps(found))
        except OSError as error:
            logger.warning("domains not remembered: %s", error.strerror)

    def forget(self) -> None:
        """Ask the database next time."""
        self._asked = float("-inf")
        self._shared = self._catching = None


_CATCHES = Exists(NameSpace.objects.making().filter(domain=OuterRef("pk")))
our_domains = OurDomains()

_CONTACTS = Contact.objects.filter(alias=OuterRef("pk"))
_FIND = CompiledQuery(
    lambda addresses: Alias.objects.filter(address__among=addresses).values_list(
        "address",
        "pk",
        ExpressionWrapper(RECEIVING, BooleanField()),
        "hides_replies",
        "admits",
        "hostname",
        Exists(_CONTACTS),
        Exists(_CONTACTS.filter(blocked=True)),
        Exists(SenderDomain.objects.blocked().filter(alias=OuterRef("pk"))),
        has_rules("owner"),
    ),
    addresses=models.CharField(),
)
# A disabled alias receives nothing, but its owner may still write from it.
_FIND_REVERSE = CompiledQuery(
    lambda addresses: Contact.objects.filter(
        reverse_address__among=addresses, alias__deleted_at=None, alias__owner__is_active=True
    ).values_list("reverse_address", "alias_id", "pk"),
    addresses=models.CharField(),
)


def _domain(address: str) -> str:
    """The address's domain as it is looked up; "" if it cannot be one."""
    try:
        return domain_to_ascii(address.rpartition("@")[2]).removesuffix(ROUTE)
    except AddressError:
        return ""


def needs_database(address: str) -> bool:
    """Whether only the database can tell what the address is: it may be at a domain of ours."""
    known = our_domains.known()
    return known is None or _domain(address) in known


def is_in_our_domains(address: str) -> bool:
    """Whether the address is in one of our domains, as they were when something was last resolved."""
    return _domain(address) in our_domains.last_known


def resolve(text: str) -> Resolution:
    """What the address is: in any case, its `+tag` ignored, its domain as U-labels or A-labels. Raises
    OperationalError while the database is away and it matters."""
    return resolve_all([text])[0]


def resolve_all(texts: Sequence[str]) -> list[Resolution]:
    """What each of the addresses is, in one statement for all aliases, and one for all reverse addresses."""
    read = [_read(text) for text in texts]
    unresolved = [each for each in read if isinstance(each, _Unresolved)]
    found: dict[str, Sequence[Any]] = {}
    for find, asked in ((_FIND, False), (_FIND_REVERSE, True)):
        if addresses := {str(each.address) for each in unresolved if each.may_be_reverse is asked}:
            found |= {address: row for address, *row in find(addresses=list(addresses))}
    unknown = [
        each.address
        for each in unresolved
        if str(each.address) not in found and our_domains.may_catch(each.address.domain)
    ]
    kinds = _kinds_of(unknown) if unknown else {}
    return [each if isinstance(each, Resolution) else each.resolved(found, kinds) for each in read]


_KINDS = {Chance.YES: Kind.NEW, Chance.LATER: Kind.FULL, Chance.NO: Kind.UNKNOWN}


def _kinds_of(addresses: Sequence[Address]) -> dict[Address, Kind]:
    """What addresses are that are no aliases."""
    return {address: _KINDS[chance] for address, chance in chances(addresses).items()}


def make_all(addresses: Sequence[Address]) -> list[Kind]:
    """Make these addresses aliases, if mail may: NEW for each that is one now. Raises what the database
    raises."""
    return [_KINDS[make(address)] for address in addresses]


@dataclass(frozen=True)
class _Unresolved:
    """An address at which there may be an alias; or, by its form, a reverse address, and never an alias."""

    address: Address
    is_shared: bool
    correspondent: str = ""

    @property
    def may_be_reverse(self) -> bool:
        return looks_like_reverse(self.address.local_part)

    def resolved(self, found: dict[str, Sequence[Any]], kinds: dict[Address, Kind]) -> Resolution:
        """What it is, as the rows that were found say, by address; `kinds`: of those without a row."""
        row = found.get(str(self.address))
        if row is None:
            kind = kinds.get(self.address, Kind.UNKNOWN)
            correspondent = self.correspondent if kind is Kind.NEW else ""
            return Resolution(kind, self.address, is_shared=self.is_shared, correspondent=correspondent)
        if self.may_be_reverse:
            alias_id, contact_id = row
            return Resolution(Kind.REVERSE, self.address, alias_id, self.is_shared, contact_id)
        alias_id, receives, *others = row
        kind = Kind.FORWARD if receives else Kind.BLOCKED
        return Resolution(kind, self.address, alias_id, self.is_shared, None, self.correspondent, *others)


def _read(text: str) -> Resolution | _Unresolved:
    """What can be said of an address without looking for an alias."""
    local_part, at, domain_text = text.strip().rpartition("@")
    if not at:
        # RFC 5321 §4.5.1: "postmaster" without a domain is taken too.
        role = Address(domain_text.lower(), settings.MAIL_HOSTNAME)
        return Resolution(Kind.ROLE if role.local_part == "postmaster" else Kind.NOT_OURS, role)
    domain = _domain(domain_text)
    if not domain:
        return Resolution(Kind.NOT_OURS)
    shared = our_domains.shared().get(domain)
    if shared is None:
        if domain != settings.MAIL_HOSTNAME:
            return Resolution(Kind.NOT_OURS, Address(local_part, domain))
        # Our own host's name has these mailboxes and no other. A Postfix of ours takes mail for it, so
        # the others are refused here: later it would be a report to whoever is named as the sender.
        is_role = local_part.lower() in ROLES
        return Resolution(Kind.ROLE if is_role else Kind.UNKNOWN, Address(local_part, domain))
    try:
        address = parse_without_tag(f"{local_part}@{domain}")
    except AddressError:
        # A local part that no alias has: too long, quoted, empty.
        return Resolution(Kind.UNKNOWN, is_shared=shared)
    if address.local_part in ROLES:
        return Resolution(Kind.ROLE, address, is_shared=shared)
    if looks_like_one(address.local_part):
        is_ours = read_return_path(address.local_part, domain, timezone.now()) is not None
        return Resolution(Kind.RETURN_PATH if is_ours else Kind.UNKNOWN, address, is_shared=shared)
    is_tagged = "=" in local_part
    correspondent = correspondent_in_tag(f"{local_part}@{domain}", str(address)) if is_tagged else ""
    return _Unresolved(address, shared, correspondent)
