"""Importing aliases that were made elsewhere: all are checked by every rule, then all are made, or none.

An imported alias keeps its address exactly. The limits per hour and day do not count it, the quota of a
domain does. Figures and dates begin anew.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from allauth.account.models import EmailAddress
from django.db import IntegrityError, models, transaction
from django.db.models import Count
from django.utils import timezone
from django.utils.translation import gettext

from accounts.models import AddressChange, User
from aliases.creation_limits import hold_creations
from aliases.ending import check_expiry
from aliases.issuing import check_name, needs_suffix
from aliases.local_parts import is_reserved, resolved_form
from aliases.models import Alias, AliasDestination, AliasExpiry
from aliases.validation import clean_destinations, clean_name, clean_note
from aliases.websites import bare_host
from core.addresses import AddressError, parse_address
from core.batches import batches
from core.db.compiled import CompiledQuery
from core.exceptions import RuleError
from domains.models import ASKER_FIELDS, Domain, asker, may_create
from transfer.rows import ALIAS, Row, printable

# So many rows are looked up or written together: SQLite takes 32,766 parameters in a statement.
CHUNK = 5_000


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a row cannot be imported."""

    line: int
    address: str
    reason: str
    # Whether it tells of an address that is not the asker's: such answers are counted on the page.
    is_taken: bool = False
    # Of what the line is one, in a server's file.
    section: str = ALIAS


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row that breaks no rule by itself, as it would be stored."""

    line: int
    address: str
    domain: str
    owner: User
    values: dict[str, Any]
    # None: the file names no destination, the owner's primary address is meant.
    destinations: tuple[str, ...] | None
    expiry: Mapping[str, Any]
    # How many rows before it count against the same quota.
    before: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """A file's rows after everything that can be checked without the database."""

    candidates: list[Candidate]
    problems: list[Problem] = field(default_factory=list)


class ImportRefused(RuleError):
    """Nothing was imported: `problems` says why, in the order of the file."""

    code = "import_refused"
    status = 409

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(gettext("Nothing was imported."))
        self.problems = sorted(problems, key=lambda problem: problem.line)


def prepare(rows: Iterable[Row], owner_of: Callable[[Row], User | None]) -> Prepared:
    """Check the rows by themselves and against each other; the first of several with one address stands."""
    prepared = Prepared([])
    lines: dict[str, int] = {}
    counts: Counter[tuple[int, str]] = Counter()
    for row in rows:
        try:
            candidate = _candidate(row, owner_of(row), lines, counts)
        except (RuleError, ValueError) as error:
            shown = printable(row.address[:80])
            prepared.problems.append(Problem(row.line, shown, printable(str(error))))
        else:
            prepared.candidates.append(candidate)
    return prepared


def _candidate(
    row: Row, owner: User | None, lines: dict[str, int], counts: Counter[tuple[int, str]]
) -> Candidate:
    """The row as it would be stored. Raises RuleError, ValueError with the reason."""
    if row.problem:
        raise ValueError(row.problem)
    try:
        parsed = parse_address(row.address)
    except AddressError as error:
        raise ValueError(gettext("This is no e-mail address.")) from error
    address = str(parsed)
    if address in lines:
        raise ValueError(gettext("It is in the file already (see %(line)s).") % {"line": lines[address]})
    lines[address] = row.line
    if is_reserved(parsed.local_part):
        raise ValueError(gettext("This name is reserved."))
    check_name(parsed.local_part)
    if owner is None:
        raise ValueError(gettext("There is no user %(owner)s here.") % {"owner": row.owner[:80]})
    values = {
        "enabled": row.enabled,
        "pinned": row.pinned,
        "note": clean_note(row.note),
        "name": clean_name(row.name),
        "hostname": bare_host(row.hostname),
    }
    if row.deleted:
        values["deleted_at"] = timezone.now()
    if row.expiry:
        check_expiry(**row.expiry)
    destinations = tuple(clean_destinations(row.destinations)) if row.destinations else None
    before = counts[owner.pk, parsed.domain]
    if not row.deleted:
        counts[owner.pk, parsed.domain] += 1
    return Candidate(row.line, address, parsed.domain, owner, values, destinations, row.expiry, before)


def check_rows(candidates: Sequence[Candidate], *, by_admin: bool = False) -> list[Problem]:
    """Why these rows cannot be made now; one reason each, in their order. Nothing is written.

    `by_admin`: names without a random ending are let onto domains that ask for one.
    """
    return _Check(candidates, by_admin).problems()


def make_aliases(prepared: Prepared, *, by_admin: bool = False) -> int:
    """Make all of them in one transaction and return how many; all rules are checked once more.

    Raises ImportRefused; then nothing was made.
    """
    try:
        with transaction.atomic():
            return _make_aliases(prepared, by_admin)
    except IntegrityError as error:
        # Between the check and the insert: an address was given out, or a destination went away.
        raise ImportRefused([something_changed()]) from error


def _make_aliases(prepared: Prepared, by_admin: bool) -> int:
    candidates = prepared.candidates
    check = _Check(candidates, by_admin)
    for owner in check.owners_with_quota():
        hold_creations(owner)
    if problems := prepared.problems + check.problems():
        raise ImportRefused(problems)
    for chunk in batches(candidates, CHUNK):
        made = [
            Alias(address=row.address, domain=check.domains[row.domain], owner=row.owner, **row.values)
            for row in chunk
        ]
        Alias.objects.bulk_create(made)
        AliasDestination.objects.bulk_create(
            AliasDestination(alias=alias, address=address)
            for alias, row in zip(made, chunk, strict=True)
            for address in check.destinations(row)
        )
        AliasExpiry.objects.bulk_create(
            AliasExpiry(alias=alias, **row.expiry)
            for alias, row in zip(made, chunk, strict=True)
            if row.expiry
        )
    # Asked after the insert: whoever adds such an address as an own one meanwhile finds the alias.
    receiving = _own_addresses(row.address for row in candidates)
    if problems := [_taken(row) for row in candidates if row.address in receiving]:
        raise ImportRefused(problems)
    return len(candidates)


def something_changed() -> Problem:
    """What is said where the check found nothing wrong, and the database then did."""
    return Problem(0, "", gettext("Something changed in the same moment. Try again."))


def _taken(row: Candidate) -> Problem:
    return Problem(row.line, row.address, gettext("This address is taken."), is_taken=True)


def _own_addresses(addresses: Iterable[str]) -> set[str]:
    """Which of the addresses are somebody's own, or were until lately; and those that are with a tag, of
    whatever address.
    """
    found: set[str] = set()
    for chunk in batches(addresses, CHUNK):
        found |= set(EmailAddress.objects.filter(email__in=chunk).values_list("email", flat=True))
        found |= set(AddressChange.objects.filter(held_as__in=chunk).values_list("held_as", flat=True))
    tagged = EmailAddress.objects.filter(email__contains="+").values_list("email", flat=True)
    return found | {resolved_form(email) for email in tagged}


def _usable(name: Any, **user: Any) -> models.QuerySet[Any, Any]:
    return Domain.objects.enabled().filter(may_create(**user), name=name).order_by().values_list("pk")


# Compiled once: a whole server's file asks for thousands of owners.
_USABLE = CompiledQuery(_usable, **ASKER_FIELDS, name=models.CharField())


class _Check:
    """What the database says about some rows, asked for all of them together.

    Four statements, one for each owner on each domain, and two for each chunk of rows.
    """

    def __init__(self, candidates: Sequence[Candidate], by_admin: bool) -> None:
        self.candidates = candidates
        self.by_admin = by_admin
        self.owners = list({row.owner.pk: row.owner for row in candidates}.values())
        names = {row.domain for row in candidates}
        self.domains: dict[str, Domain] = {}
        for chunk in batches(names, CHUNK):
            self.domains |= {
                domain.name: domain for domain in Domain.objects.enabled().filter(name__in=chunk)
            }

    def owners_with_quota(self) -> list[User]:
        """The owners whose aliases on some domain of the rows are limited, in a fixed order: no deadlocks."""
        limited = {name for name, domain in self.domains.items() if domain.alias_quota is not None}
        owners = {row.owner.pk: row.owner for row in self.candidates if row.domain in limited}
        return [owners[key] for key in sorted(owners)]

    def problems(self) -> list[Problem]:
        self._ask()
        return [problem for row in self.candidates if (problem := self._problem(row)) is not None]

    def destinations(self, row: Candidate) -> list[EmailAddress]:
        """Where the alias's mail will go: known to be there once there are no problems."""
        own = self.own[row.owner.pk]
        if row.destinations is None:
            return [address for address in own.values() if address.primary]
        return [own[email] for email in row.destinations]

    def _ask(self) -> None:
        self.usable = {pair for pair, owner in self._pairs().items() if self._may_use(owner, pair[1])}
        self.own: dict[int, dict[str, EmailAddress]] = {owner.pk: {} for owner in self.owners}
        for owners in batches(self.owners, CHUNK):
            for address in EmailAddress.objects.filter(user__in=owners, verified=True):
                self.own[address.user_id][address.email] = address
        self.held: dict[str, int | None] = {}
        addresses = [row.address for row in self.candidates]
        for chunk in batches(addresses, CHUNK):
            rows = Alias.objects.filter(address__in=chunk)
            self.held |= dict(rows.values_list("address", "owner_id"))
        self.receiving = _own_addresses(addresses)
        self.counts: dict[tuple[int, int], int] = {}
        for owners in batches(self.owners_with_quota(), CHUNK):
            counted = Alias.objects.filter(
                owner__in=owners, deleted_at=None, domain__alias_quota__isnull=False
            )
            groups = counted.order_by().values_list("owner_id", "domain_id").annotate(number=Count("pk"))
            self.counts |= {(owner, domain): number for owner, domain, number in groups}

    def _pairs(self) -> dict[tuple[int, str], User]:
        """Who has rows on which domain, by the owner's key and the domain's name."""
        rows = (row for row in self.candidates if row.domain in self.domains)
        return {(row.owner.pk, row.domain): row.owner for row in rows}

    def _may_use(self, owner: User, name: str) -> bool:
        return bool(_USABLE(**asker(owner), name=name))

    def _problem(self, row: Candidate) -> Problem | None:
        domain = self.domains.get(row.domain)
        own = self.own[row.owner.pk]
        if domain is None:
            reason = gettext("There is no domain %(domain)s here with the Anonymous Email Service on.") % {
                "domain": row.domain
            }
        elif (row.owner.pk, row.domain) not in self.usable:
            reason = gettext("The owner has no access to the domain %(domain)s.") % {"domain": row.domain}
        elif self.held.get(row.address) == row.owner.pk:
            reason = gettext("This alias is here already.")
        elif needs_suffix(domain) and not self.by_admin:
            # Before what others have there: whose it is, is nobody's business who cannot have it anyway.
            reason = gettext(
                "On the domain %(domain)s nobody chooses the whole of a name: only an admin can import it."
            ) % {"domain": row.domain}
        elif row.address in self.held or row.address in self.receiving:
            return replace(_taken(row), is_taken=row.address not in own)
        elif row.destinations is None and not any(address.primary for address in own.values()):
            reason = gettext("The owner has no verified primary address.")
        elif wrong := [email for email in row.destinations or () if email not in own]:
            reason = gettext("%(address)s is no verified address of the alias's owner.") % {
                "address": wrong[0]
            }
        elif self._is_over_quota(row, domain):
            reason = gettext("The domain allows its people %(quota)s aliases each.") % {
                "quota": domain.alias_quota
            }
        else:
            return None
        return Problem(row.line, row.address, reason)

    def _is_over_quota(self, row: Candidate, domain: Domain) -> bool:
        if domain.alias_quota is None or "deleted_at" in row.values:
            return False
        return self.counts.get((row.owner.pk, domain.pk), 0) + row.before >= domain.alias_quota
