"""The rights that a source gives and takes, at each sign-in and when it is disconnected."""

from collections.abc import Callable, Iterator

from django.http import HttpRequest

from accounts.models import Identity, LastAdmin
from accounts.organisation.person import Person
from core.audit import AuditEntry

# Changes what the identity's user may do to what is due, and yields for each change its action and what it is
# about. Without a person, nothing is due any more.
Right = Callable[[Identity, Person | None], Iterator[tuple[str, str]]]

_rights: list[Right] = []


def register_right(right: Right) -> None:
    """Let a source decide about `right`, too. Call it in `AppConfig.ready`."""
    _rights.append(right)


def apply_rights(identity: Identity, person: Person | None, request: HttpRequest | None) -> None:
    """Give the identity's user what the source says, and take what it gave before and says no more.

    Call it in a transaction in which the identity is locked.
    """
    for right in (_admin, *_rights):
        for action, about in right(identity, person):
            detail = ", ".join(text for text in (identity.issuer, about) if text)
            AuditEntry.objects.record(request, action, identity.user, detail)
    identity.save(update_fields=["gave_admin", "gave_domains"])


def _admin(identity: Identity, person: Person | None) -> Iterator[tuple[str, str]]:
    user = identity.user
    due = (
        person is not None and bool(person.source.admin_group) and person.source.admin_group in person.groups
    )
    if due and not user.is_superuser:
        user.is_superuser = identity.gave_admin = True
        user.save(update_fields=["is_superuser"])
        yield "admin.give", ""
    elif not due and identity.gave_admin:
        if user.is_superuser:
            try:
                user.check_may_leave()
            except LastAdmin:
                # Somebody must be able to make another one. The next sign-in tries again.
                yield "admin.keep", LastAdmin.code
                return
            user.is_superuser = False
            user.save(update_fields=["is_superuser"])
            yield "admin.take", ""
        identity.gave_admin = False
