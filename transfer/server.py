"""A whole Mailu server's aliases, with its domains and people: what a global admin imports."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from allauth.account.models import EmailAddress
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from accounts.models import User
from core.addresses import AddressError, address_or_none, domain_to_ascii
from core.batches import batches
from domains.models import Domain
from transfer.making import (
    CHUNK,
    Candidate,
    ImportRefused,
    Prepared,
    Problem,
    check_rows,
    make_aliases,
    prepare,
    something_changed,
)
from transfer.rows import DOMAIN, USER, Document, DomainRow, LeftOut, UserRow, printable


@dataclass(slots=True)
class MailuImport:
    """What an import makes, or would make, and what is wrong."""

    prepared: Prepared
    left_out: list[LeftOut]
    domains: list[Domain] = field(default_factory=list)
    users: list[User] = field(default_factory=list)
    # The addresses of users whom the file has as disabled: those who are made are deactivated at the end.
    idle: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)

    def told(self, most: int) -> dict[str, Any]:
        """What is made and left out, as JSON: the numbers, and the first of each, at `most` so many."""
        lists = {
            "domains": [[domain.name, domain.anonmail_enabled] for domain in self.domains[:most]],
            "users": [[user.email, user.email not in self.idle] for user in self.users[:most]],
            "aliases": [_told(row) for row in self.prepared.candidates[:most]],
            "left_out": [[row.line, row.address, row.reason] for row in self.left_out[:most]],
        }
        numbers = {
            "domains": len(self.domains),
            "users": len(self.users),
            "aliases": len(self.prepared.candidates),
            "left_out": len(self.left_out),
        }
        return {**lists, "numbers": numbers}


def _told(row: Candidate) -> dict[str, Any]:
    return {
        "address": row.address,
        "owner": row.owner.email,
        "destinations": row.destinations,
        "enabled": row.values["enabled"],
        "note": printable(row.values["note"][:80]),
    }


def preview_mailu(
    document: Document, *, only: User | None = None, create_domains: bool = False, create_users: bool = False
) -> MailuImport:
    """What `import_mailu` would make, and what is wrong. It is made, looked at, and taken back.

    Raises ImportRefused where somebody else made a domain or user of the document in the same moment.
    """
    with _all_or_nothing():
        found = _prepare(document, only, create_domains, create_users)
        found.problems += check_rows(found.prepared.candidates, by_admin=True)
        transaction.set_rollback(True)
    found.problems.sort(key=lambda problem: problem.line)
    return found


def import_mailu(
    document: Document, *, only: User | None = None, create_domains: bool = False, create_users: bool = False
) -> MailuImport:
    """Make the aliases of the document; all of it, or nothing. Raises ImportRefused.

    `only`: this person's alone. `create_domains`, `create_users`: those that are not here yet too, users
    without a password, and deactivated where Mailu has them so. Nobody becomes an admin.
    """
    with _all_or_nothing():
        found = _prepare(document, only, create_domains, create_users)
        if found.problems:
            raise ImportRefused(found.problems)
        make_aliases(found.prepared, by_admin=True)
        for user in found.users:
            if user.email in found.idle:
                user.deactivate()
    return found


@contextmanager
def _all_or_nothing() -> Iterator[None]:
    """One transaction. Raises ImportRefused where somebody made the same in the same moment."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        raise ImportRefused([something_changed()]) from error


def _prepare(document: Document, only: User | None, create_domains: bool, create_users: bool) -> MailuImport:
    """Make domains and users; the aliases only as far as the database need not be asked."""
    rows, left_out = document.rows, [*document.taken_out, *document.left_out]
    if only is not None:
        own = set(EmailAddress.objects.filter(user=only, verified=True).values_list("email", flat=True))
        rows, left_out = [row for row in rows if _one_form(row.owner) in own], document.taken_out
    found = MailuImport(Prepared([]), left_out)
    if create_domains:
        hosting = {row.address.rpartition("@")[2].strip().lower() for row in rows}
        housing = {row.email.rpartition("@")[2].strip().lower() for row in document.users}
        for domain in document.domains:
            _make_domain(found, domain, hosting, housing)
    if create_users and only is None:
        found.idle = {_one_form(row.email) for row in document.users if not row.enabled}
        here = _owners(user.email for user in document.users)
        for user in document.users:
            if _one_form(user.email) not in here:
                _make_user(found, user)
    owners = _owners(row.owner for row in rows)
    found.prepared = prepare(rows, lambda row: owners.get(_one_form(row.owner)))
    found.problems += found.prepared.problems
    return found


def _make_domain(found: MailuImport, row: DomainRow, hosting: set[str], housing: set[str]) -> None:
    try:
        name = domain_to_ascii(row.name)
        names = {name, row.name.strip().lower()}
        if Domain.objects.filter(name=name).exists():
            return
        domain = Domain(
            name=name,
            # A domain whose aliases come here is one for aliases, whether that Mailu knew the toggle or not.
            anonmail_enabled=row.anonmail_enabled or bool(names & hosting),
            is_shared=bool(names & housing),
            comment="\n".join(map(printable, row.comment.splitlines())),
        )
        domain.full_clean()
    except (AddressError, ValidationError) as error:
        found.problems.append(_problem(row.line, row.name, error, DOMAIN))
    else:
        domain.save()
        found.domains.append(domain)


def _make_user(found: MailuImport, row: UserRow) -> None:
    try:
        found.users.append(User.objects.create_user(row.email, name=printable(row.name)[:128]))
    except ValidationError as error:
        found.problems.append(_problem(row.line, row.email, error, USER))


def _problem(line: int, name: str, error: AddressError | ValidationError, section: str) -> Problem:
    reason = " ".join(error.messages) if isinstance(error, ValidationError) else str(error)
    return Problem(line, printable(name[:80]), printable(reason), section=section)


def _one_form(address: str) -> str:
    return address_or_none(address) or ""


def _owners(addresses: Iterable[str]) -> dict[str, User]:
    """Who receives at these addresses, by the address in its one form."""
    wanted = sorted({form for address in addresses if (form := _one_form(address))})
    owners: dict[str, User] = {}
    for batch in batches(wanted, CHUNK):
        rows = EmailAddress.objects.filter(email__in=batch, verified=True)
        owners |= {row.email: row.user for row in rows.select_related("user")}
    return owners
