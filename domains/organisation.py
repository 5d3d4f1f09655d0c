"""Managers whom an organisation's source names (docs/sign-in.md)."""

from collections.abc import Iterator

from accounts.models import Identity
from accounts.organisation.person import Person
from domains.models import Domain


def manage_what_is_due(identity: Identity, person: Person | None) -> Iterator[tuple[str, str]]:
    """Make the identity's user a manager of the domains that the source names, and no more of those it named.

    Names of domains that are not here do nothing. Yields what changed, for the audit.
    """
    names = person.manages if person else frozenset()
    if not names and not identity.gave_domains:
        return
    user = identity.user
    due = {domain.name: domain for domain in Domain.objects.filter(name__in=names)}
    given = {domain.name: domain for domain in Domain.objects.filter(name__in=identity.gave_domains)}
    managed = set(user.managed_domains.filter(name__in=[*due, *given]).values_list("name", flat=True))
    gives, takes = sorted(due.keys() - managed), sorted(given.keys() - due.keys())
    user.managed_domains.add(*(due[name] for name in gives))
    user.managed_domains.remove(*(given[name] for name in takes))
    identity.gave_domains = sorted((given.keys() - takes) | set(gives))
    yield from (("manager.give", name) for name in gives)
    yield from (("manager.take", name) for name in takes if name in managed)
