"""A whole Mailu server's aliases, with its domains and people: what a global admin imports."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from allauth.account.models import EmailAddress
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from accounts.models import User
from core.addresses import AddressError, address_or_none, domain_to_ascii
from core.batches import batches
from core.db.violations import is_conflict
from domains.models import Domain
from transfer.checking import BATCH, Candidate, Check, OwnerOf
from transfer.making import ImportRefused, Made, conflict, make
from transfer.rows import DOMAIN, USER, Document, DomainRow, LeftOut, Problem, UserRow, printable


@dataclass(slots=True)
class ServerImport:
    """What an import makes, and what is wrong."""

    left_out: list[LeftOut]
    domains: list[Domain] = field(default_factory=list)
    users: list[User] = field(default_factory=list)
    # Those of the users who are made deactivated, by their addresses.
    deactivated: set[str] = field(default_factory=set)
    aliases: list[Candidate] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def summary(self, limit: int) -> dict[str, Any]:
        """What is made and left out, as JSON: the numbers, and the first `limit` of each."""
        return {
            "domains": [[domain.name, domain.anonmail_enabled] for domain in self.domains[:limit]],
            "users": [[user.email, user.email not in self.deactivated] for user in self.users[:limit]],
            "aliases": [_summary(alias) for alias in self.aliases[:limit]],
            "left_out": [[row.line, row.address, row.reason] for row in self.left_out[:limit]],
            "numbers": {
                "domains": len(self.domains),
                "users": len(self.users),
                "aliases": len(self.aliases),
                "left_out": len(self.left_out),
            },
        }


def _summary(alias: Candidate) -> dict[str, Any]:
    row = alias.row
    return {
        "address": row.address,
        "owner": alias.owner.email,
        "destinations": row.destinations,
        "enabled": row.enabled,
        "note": printable(row.note[:80]),
    }


def of_user(document: Document, user: User) -> Document:
    """Only what is this user's in the document; nobody is made from it."""
    own = set(EmailAddress.objects.filter(user=user, verified=True).values_list("email", flat=True))
    rows = [row for row in document.rows if address_or_none(row.owner) in own]
    return replace(document, rows=rows, left_out=[])


def preview_server(document: Document, *, create_domains: bool, create_users: bool) -> ServerImport:
    """What `make_server` would make, and what is wrong. It is made, checked, and rolled back.

    Raises ImportRefused if somebody else makes a domain or user of the document at the same moment.
    """
    with _all_or_nothing():
        found, owner_of = _make_domains_and_users(document, create_domains, create_users)
        check = Check(document.rows, owner_of, by_admin=True)
        found.problems = sorted(found.problems + check.problems(), key=lambda problem: problem.line)
        found.aliases = check.candidates
        transaction.set_rollback(True)
    return found


def make_server(document: Document, *, create_domains: bool, create_users: bool) -> Made:
    """Make what is in the document and return how much; all of it, or nothing. Raises ImportRefused.

    `create_domains`, `create_users`: those that are not here yet too. Users have no password, and are
    deactivated if Mailu has them so. Nobody becomes an admin.
    """
    with _all_or_nothing():
        found, owner_of = _make_domains_and_users(document, create_domains, create_users)
        if found.problems:
            raise ImportRefused(found.problems)
        aliases = make(document.rows, owner_of, by_admin=True)
        for user in found.users:
            if user.email in found.deactivated:
                user.deactivate()
    return Made(aliases, len(found.users), len(found.domains))


@contextmanager
def _all_or_nothing() -> Iterator[None]:
    """One transaction. Raises ImportRefused if somebody makes the same at the same moment."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        if not is_conflict(error):
            raise
        raise conflict() from error


def _make_domains_and_users(
    document: Document, create_domains: bool, create_users: bool
) -> tuple[ServerImport, OwnerOf]:
    """Make those that are wanted and missing, and find the owners of the aliases."""
    found = ServerImport(document.left_out)
    if create_domains:
        hosting = {row.address.rpartition("@")[2].strip().lower() for row in document.rows}
        housing = {row.email.rpartition("@")[2].strip().lower() for row in document.users}
        for domain in document.domains:
            _make_domain(found, domain, hosting, housing)
    if create_users:
        disabled = [address_or_none(row.email) for row in document.users if not row.enabled]
        found.deactivated = {email for email in disabled if email}
        here = _owners(user.email for user in document.users)
        for user in document.users:
            if address_or_none(user.email) not in here:
                _make_user(found, user)
    owners = _owners(row.owner for row in document.rows)
    return found, lambda row: owners.get(address_or_none(row.owner) or "")


def _make_domain(found: ServerImport, row: DomainRow, hosting: set[str], housing: set[str]) -> None:
    try:
        name = domain_to_ascii(row.name)
        names = {name, row.name.strip().lower()}
        if Domain.objects.filter(name=name).exists():
            return
        domain = Domain(
            name=name,
            # If aliases of the domain come here, it is on, even if that Mailu did not know the toggle.
            anonmail_enabled=row.anonmail_enabled or bool(names & hosting),
            is_shared=bool(names & housing),
            comment=row.comment,
        )
        domain.full_clean()
    except (AddressError, ValidationError) as error:
        found.problems.append(_problem(row.line, row.name, error, DOMAIN))
    else:
        domain.save()
        found.domains.append(domain)


def _make_user(found: ServerImport, row: UserRow) -> None:
    try:
        found.users.append(User.objects.create_user(row.email, name=row.name))
    except ValidationError as error:
        found.problems.append(_problem(row.line, row.email, error, USER))


def _problem(line: int, name: str, error: AddressError | ValidationError, section: str) -> Problem:
    reason = " ".join(error.messages) if isinstance(error, ValidationError) else str(error)
    return Problem(line, name[:80], printable(reason), section)


def _owners(addresses: Iterable[str]) -> dict[str, User]:
    """Who receives mail at these addresses, by the address in its one form."""
    wanted = {form for address in addresses if (form := address_or_none(address))}
    owners: dict[str, User] = {}
    for batch in batches(sorted(wanted), BATCH):
        rows = EmailAddress.objects.filter(email__in=batch, verified=True)
        owners |= {row.email: row.user for row in rows.select_related("user")}
    return owners
