"""Checking aliases that were made elsewhere: by themselves (`clean`), and against the database (`check`)."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from allauth.account.models import EmailAddress
from django.db import models
from django.db.models import Count
from django.utils.translation import gettext

from accounts.models import AddressChange, User
from aliases.ending import check_expiry
from aliases.issuing import check_name, needs_suffix
from aliases.local_parts import is_reserved, resolved_form
from aliases.models import Admits, Alias, NameSpace
from aliases.models.name_space import suffix_of
from aliases.validation import clean_destinations, clean_name, clean_note
from aliases.websites import bare_host
from contacts.addresses import correspondent_address, is_reverse_address
from core.addresses import AddressError, parse_address
from core.batches import batches
from core.db.compiled import CompiledQuery
from core.exceptions import RuleError
from domains.models import ASKER_FIELDS, Domain, asker, may_create
from transfer.rows import CONTACTS_MAX, Problem, Row, printable

# Rows that are read or written together: SQLite takes 32,766 parameters in a statement.
BATCH = 5_000

OwnerOf = Callable[[Row], User | None]


def clean(rows: Iterable[Row]) -> list[Row]:
    """The rows as they would be stored; one that breaks a rule has it as its `problem`.

    The first of several rows with one address stands. Nothing is asked of the database.
    """
    lines: dict[str, int] = {}
    cleaned = []
    for row in rows:
        try:
            cleaned.append(_clean(row, lines))
        except (RuleError, ValueError) as error:
            wrong = Row(row.line, printable(row.address[:80]), problem=printable(str(error)))
            cleaned.append(wrong)
    return cleaned


def _clean(row: Row, lines: dict[str, int]) -> Row:
    """The row as it would be stored. Raises RuleError, ValueError with the reason."""
    if row.problem:
        raise ValueError(row.problem)
    try:
        parsed = parse_address(row.address)
    except AddressError as error:
        raise ValueError(gettext("This is not a valid e-mail address.")) from error
    address = str(parsed)
    if address in lines:
        raise ValueError(gettext("It is already in the file (see %(line)s).") % {"line": lines[address]})
    lines[address] = row.line
    if is_reserved(parsed.local_part):
        raise ValueError(gettext("This name is reserved."))
    check_name(parsed.local_part)
    return replace(
        row,
        address=address,
        note=clean_note(row.note),
        name=clean_name(row.name),
        hostname=bare_host(row.hostname),
        destinations=clean_destinations(row.destinations) if row.destinations else [],
        owner=printable(row.owner),
        admits=_clean_admits(row.admits),
        contacts=_clean_contacts(row.contacts, address),
    )


def _clean_admits(word: str) -> str:
    """Whose mail the alias takes. Raises ValueError."""
    if word and word not in Admits.values:
        raise ValueError(
            gettext("“%(word)s” in the column admits is none of: %(words)s.")
            % {"word": printable(word[:40]), "words": ", ".join(Admits.values)}
        )
    return word


def _clean_contacts(rows: Sequence[Sequence[Any]], alias: str) -> list[tuple[str, str, bool]]:
    """The correspondents as they would be stored, each address once. Raises RuleError, ValueError."""
    if len(rows) > CONTACTS_MAX:
        raise ValueError(gettext("An alias can bring at most %(max)s contacts.") % {"max": CONTACTS_MAX})
    cleaned: dict[str, tuple[str, str, bool]] = {}
    for text, name, blocked in rows:
        try:
            address = correspondent_address(text)
        except AddressError as error:
            raise ValueError(
                gettext("The contact “%(address)s” is not a valid address.")
                % {"address": printable(text[:80])}
            ) from error
        if address != alias and not is_reverse_address(address):
            cleaned.setdefault(address, (address, clean_name(name), blocked))
    return list(cleaned.values())


def check(
    rows: Sequence[Row], owner_of: OwnerOf, *, by_admin: bool = False, earlier: Sequence[Row] = ()
) -> list[Problem]:
    """Why these cleaned rows cannot be made now; one reason each, in their order. Nothing is written.

    `by_admin`: names without a random ending may come to domains that ask for one. `earlier`: rows of the
    same file that were checked before, which count against the quotas.
    """
    return Check(rows, owner_of, by_admin=by_admin, earlier=earlier).problems()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row that breaks no rule by itself, and whose it will be."""

    row: Row
    owner: User
    # How many rows before it count against the same quota.
    before: int

    @property
    def domain(self) -> str:
        return self.row.address.rpartition("@")[2]


def address_taken(row: Row) -> Problem:
    """What is wrong if somebody else has the address."""
    return Problem(row.line, row.address, gettext("This address is taken."), is_taken=True)


def own_addresses(addresses: Iterable[str]) -> set[str]:
    """Which of the addresses somebody receives mail at, or did until lately; unverified ones do not count.

    Own addresses with a tag are among them in any case, without it.
    """
    found: set[str] = set()
    verified = EmailAddress.objects.filter(verified=True)
    for batch in batches(addresses, BATCH):
        found |= set(verified.filter(email__in=batch).values_list("email", flat=True))
        found |= set(AddressChange.objects.filter(held_as__in=batch).values_list("held_as", flat=True))
    tagged = verified.filter(email__contains="+").values_list("email", flat=True)
    return found | {resolved_form(email) for email in tagged}


def _usable(name: Any, **user: Any) -> models.QuerySet[Any, Any]:
    return Domain.objects.enabled().filter(may_create(**user), name=name).order_by().values_list("pk")


# Compiled once: a whole server's file has thousands of owners.
_USABLE = CompiledQuery(_usable, **ASKER_FIELDS, name=models.CharField())


class Check:
    """What the database says about some cleaned rows, asked for all of them together.

    Four statements, one for each owner on each domain, and two for each batch of rows.
    """

    def __init__(
        self, rows: Sequence[Row], owner_of: OwnerOf, *, by_admin: bool = False, earlier: Sequence[Row] = ()
    ) -> None:
        self.by_admin = by_admin
        self.candidates: list[Candidate] = []
        self.wrong_by_themselves: list[Problem] = []
        counts: Counter[tuple[int, str]] = Counter()
        for number, row in enumerate([*earlier, *rows]):
            try:
                candidate = _candidate(row, owner_of(row), counts)
            except (RuleError, ValueError) as error:
                if number >= len(earlier):
                    self.wrong_by_themselves.append(Problem(row.line, row.address, printable(str(error))))
            else:
                if number >= len(earlier):
                    self.candidates.append(candidate)
        self.owners = list({row.owner.pk: row.owner for row in self.candidates}.values())
        self.domains: dict[str, Domain] = {}
        for names in batches({row.domain for row in self.candidates}, BATCH):
            self.domains |= {
                domain.name: domain for domain in Domain.objects.enabled().filter(name__in=names)
            }

    def owners_with_quota(self) -> list[User]:
        """The owners whose aliases on some domain of the rows are limited, in a fixed order: no deadlocks."""
        limited = {name for name, domain in self.domains.items() if domain.alias_quota is not None}
        owners = {row.owner.pk: row.owner for row in self.candidates if row.domain in limited}
        return [owners[key] for key in sorted(owners)]

    def problems(self) -> list[Problem]:
        """Why the rows cannot be made now; one reason each, in the order of the file."""
        self.ask()
        refused = [problem for row in self.candidates if (problem := self._problem(row)) is not None]
        return sorted(self.wrong_by_themselves + refused, key=lambda problem: problem.line)

    def destinations(self, candidate: Candidate) -> list[EmailAddress]:
        """Where the alias's mail will go. To be called only if there are no problems."""
        own = self.own[candidate.owner.pk]
        if not candidate.row.destinations:
            return [address for address in own.values() if address.primary]
        return [own[email] for email in candidate.row.destinations]

    def ask(self) -> None:
        """Ask the database, once for all rows."""
        rows = (row for row in self.candidates if row.domain in self.domains)
        pairs = {(row.owner.pk, row.domain): row.owner for row in rows}
        self.usable = {pair for pair, owner in pairs.items() if _USABLE(**asker(owner), name=pair[1])}
        self.own: dict[int, dict[str, EmailAddress]] = {owner.pk: {} for owner in self.owners}
        for owners in batches(self.owners, BATCH):
            for address in EmailAddress.objects.filter(user__in=owners, verified=True):
                self.own[address.user_id][address.email] = address
        self.held: dict[str, int | None] = {}
        addresses = [candidate.row.address for candidate in self.candidates]
        for batch in batches(addresses, BATCH):
            held = Alias.objects.filter(address__in=batch)
            self.held |= dict(held.values_list("address", "owner_id"))
        self.receiving = own_addresses(addresses)
        giving = [domain.pk for domain in self.domains.values() if domain.gives_suffixes]
        spaces = NameSpace.objects.filter(domain__in=giving) if giving else NameSpace.objects.none()
        self.spaces = {
            (domain, suffix): owner
            for domain, suffix, owner in spaces.values_list("domain", "suffix", "owner")
        }
        self.counts: dict[tuple[int, int], int] = {}
        for owners in batches(self.owners_with_quota(), BATCH):
            counted = Alias.objects.filter(
                owner__in=owners, deleted_at=None, domain__alias_quota__isnull=False
            )
            groups = counted.order_by().values_list("owner_id", "domain_id").annotate(number=Count("pk"))
            self.counts |= {(owner, domain): number for owner, domain, number in groups}

    def _problem(self, candidate: Candidate) -> Problem | None:
        row, owner = candidate.row, candidate.owner
        domain = self.domains.get(candidate.domain)
        own = self.own[owner.pk]
        if domain is None:
            reason = gettext("There is no domain %(domain)s here with the Anonymous Email Service on.") % {
                "domain": candidate.domain
            }
        elif (owner.pk, domain.name) not in self.usable:
            reason = gettext("The owner has no access to the domain %(domain)s.") % {"domain": domain.name}
        elif self.held.get(row.address) == owner.pk:
            reason = gettext("This alias already exists here.")
        elif needs_suffix(domain) and not self.by_admin:
            # Before what others have there: who cannot have the address anyway does not learn whose it is.
            reason = gettext(
                "On the domain %(domain)s only an admin can import an alias without a random ending."
            ) % {"domain": domain.name}
        elif (
            row.address in self.held
            or row.address in self.receiving
            or self._is_in_anothers_name_space(candidate, domain)
        ):
            return replace(address_taken(row), is_taken=row.address not in own)
        elif not row.destinations and not any(address.primary for address in own.values()):
            reason = gettext("The owner has no verified primary address.")
        elif wrong := [email for email in row.destinations if email not in own]:
            reason = gettext("%(address)s is not a verified address of the alias's owner.") % {
                "address": wrong[0]
            }
        elif self._is_over_quota(candidate, domain):
            reason = gettext("The domain allows each person %(quota)s aliases.") % {
                "quota": domain.alias_quota
            }
        else:
            return None
        return Problem(row.line, row.address, reason)

    def _is_in_anothers_name_space(self, candidate: Candidate, domain: Domain) -> bool:
        suffix = suffix_of(candidate.row.address.partition("@")[0])
        return self.spaces.get((domain.pk, suffix), candidate.owner.pk) != candidate.owner.pk

    def _is_over_quota(self, candidate: Candidate, domain: Domain) -> bool:
        if domain.alias_quota is None or candidate.row.deleted:
            return False
        return self.counts.get((candidate.owner.pk, domain.pk), 0) + candidate.before >= domain.alias_quota


def _candidate(row: Row, owner: User | None, counts: Counter[tuple[int, str]]) -> Candidate:
    """The row with its owner. Raises RuleError, ValueError if the row by itself cannot be imported."""
    if row.problem:
        raise ValueError(row.problem)
    if owner is None:
        raise ValueError(gettext("There is no user %(owner)s here.") % {"owner": row.owner[:80]})
    if row.expiry:
        check_expiry(**row.expiry)
    quota = owner.pk, row.address.rpartition("@")[2]
    candidate = Candidate(row, owner, before=counts[quota])
    if not row.deleted:
        counts[quota] += 1
    return candidate
