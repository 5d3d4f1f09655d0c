"""Making aliases that were made elsewhere: all of them, or none.

An imported alias keeps its address exactly. The limits per hour and day do not count it, the quota of a
domain does. Figures and dates begin anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext

from accounts.models import User
from aliases.creation_limits import hold_creations
from aliases.issuing import CREATED
from aliases.models import Admits, Alias, AliasDestination, AliasExpiry, AliasPreferences
from contacts.addresses import new_reverse_address
from contacts.models import Contact
from core.batches import batches
from core.db.violations import is_conflict
from core.exceptions import RuleError
from domains.models import Domain
from transfer.checking import BATCH, Candidate, Check, OwnerOf, address_taken, own_addresses
from transfer.rows import Problem, Row


@dataclass(frozen=True, slots=True)
class Made:
    """How many of each an import made."""

    aliases: int
    users: int = 0
    domains: int = 0


class ImportRefused(RuleError, code="import_refused", status=409):
    """Nothing was imported: `problems` says why, in the order of the file."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(gettext("Nothing was imported."))
        self.problems = sorted(problems, key=lambda problem: problem.line)


def conflict() -> ImportRefused:
    """The refusal if the check found nothing wrong, but a constraint of the database did."""
    return ImportRefused([Problem(0, "", gettext("Something changed at the same moment. Try again."))])


def make(rows: Sequence[Row], owner_of: OwnerOf, *, by_admin: bool = False) -> int:
    """Make all of the cleaned rows in one transaction and return how many; all rules are checked once more.

    Raises ImportRefused; then nothing was made.
    """
    try:
        with transaction.atomic():
            number = _make(Check(rows, owner_of, by_admin=by_admin))
            transaction.on_commit(partial(CREATED.add, "import", number=number))
            return number
    except IntegrityError as error:
        if not is_conflict(error):
            raise
        # Between the check and the insert: an address was given out, or a destination went away.
        raise conflict() from error


def _make(check: Check) -> int:
    for owner in check.owners_with_quota():
        hold_creations(owner)
    if problems := check.problems():
        raise ImportRefused(problems)
    shown = {key for owners in batches(check.owners, BATCH) for key in _shown(owners)}
    for batch in batches(check.candidates, BATCH):
        made = Alias.objects.bulk_create(
            _alias(one, check.domains[one.domain], hides_replies=one.owner.pk not in shown) for one in batch
        )
        pairs = list(zip(made, batch, strict=True))
        AliasDestination.objects.bulk_create(
            AliasDestination(alias=alias, address=address)
            for alias, one in pairs
            for address in check.destinations(one)
        )
        AliasExpiry.objects.bulk_create(
            AliasExpiry(alias=alias, **one.row.expiry) for alias, one in pairs if one.row.expiry
        )
        Contact.objects.bulk_create(
            Contact(
                alias=alias,
                address=address,
                name=name,
                is_name_kept=bool(name),
                blocked=blocked,
                reverse_address=new_reverse_address(one.domain),
            )
            for alias, one in pairs
            for address, name, blocked in one.row.contacts
        )
    # Asked after the insert: whoever adds such an address as an own one meanwhile finds the alias.
    rows = [one.row for one in check.candidates]
    receiving = own_addresses(row.address for row in rows)
    if problems := [address_taken(row) for row in rows if row.address in receiving]:
        raise ImportRefused(problems)
    return len(rows)


def _shown(owners: Sequence[User]) -> "QuerySet[AliasPreferences, int]":
    """Keys of the owners who do not want their new aliases to hide replies."""
    return AliasPreferences.objects.filter(user__in=owners, hides_replies=False).values_list(
        "user", flat=True
    )


def _alias(candidate: Candidate, domain: Domain, *, hides_replies: bool) -> Alias:
    row = candidate.row
    return Alias(
        address=row.address,
        domain=domain,
        owner=candidate.owner,
        enabled=row.enabled,
        pinned=row.pinned,
        note=row.note,
        name=row.name,
        hostname=row.hostname,
        hides_replies=hides_replies if row.hides_replies is None else row.hides_replies,
        admits=row.admits or Admits.ALL,
        deleted_at=timezone.now() if row.deleted else None,
    )
