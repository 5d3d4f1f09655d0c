"""A user's own addresses: adding one, and taking one away so that no alias is left without a destination."""

from datetime import timedelta

from allauth.account.models import EmailAddress
from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.http import HttpRequest
from django.utils.translation import gettext

from accounts.forms import AddEmailForm
from accounts.models import User
from aliases.models import Alias, AliasDestination, AliasQuerySet
from core.models import Counter, Limit, first_over
from core.refusals import RateLimited, RuleError


class AddressNeeded(RuleError):
    """The address signs the user in, or aliases have no other destination."""

    code = "address_needed"
    status = 409


class NotAddable(RuleError):
    """Nobody, or not this user, may add the address."""

    code = "address_not_addable"
    status = 400


def count_try(user: User) -> None:
    """Count a try to add an address: it tells whether the address is an alias. Raises RateLimited."""
    limit = Limit("address-hour", settings.ADDRESSES_PER_HOUR, timedelta(hours=1))
    if over := first_over(Counter.objects.all().hit((limit, user.pk))):
        raise RateLimited(
            gettext("Too many tries for now. Try again in %(minutes)s minutes.") % {"minutes": over.minutes},
            retry_after=over.retry_after,
        )


def add_address(request: HttpRequest, user: User, email: str) -> EmailAddress:
    """Add an own address, and send the mail that verifies it. Raises RateLimited, NotAddable."""
    count_try(user)
    form = AddEmailForm(data={"email": email}, user=user)
    if not form.is_valid():
        raise NotAddable(" ".join(str(text) for texts in form.errors.values() for text in texts))
    address: EmailAddress = form.save(request)
    return address


def depending_on(address: EmailAddress) -> AliasQuerySet:
    """The aliases, deleted ones included, whose only destination is this address."""
    links = AliasDestination.objects.filter(alias=OuterRef("pk"))
    return Alias.objects.filter(
        Exists(links.filter(address=address)), ~Exists(links.exclude(address=address))
    )


@transaction.atomic
def remove_address(address: EmailAddress, *, move_to: EmailAddress | None = None) -> int:
    """Remove an own address and return how many aliases were moved to `move_to`.

    Aliases that have other destinations lose this one. Raises AddressNeeded for the primary address,
    and where aliases would be left without a destination and `move_to` is no other verified address
    of the same user.
    """
    User.objects.select_for_update().get(pk=address.user_id)
    address.refresh_from_db()
    if address.primary:
        raise AddressNeeded(
            gettext("Your primary address cannot be removed. Make another one primary first.")
        )
    stranded = list(depending_on(address).values_list("pk", flat=True))
    if stranded:
        if move_to is None or not _can_receive(move_to, address):
            raise AddressNeeded(gettext("Choose where the aliases that forward to it alone shall go."))
        AliasDestination.objects.bulk_create(
            AliasDestination(alias_id=key, address=move_to) for key in stranded
        )
    AliasDestination.objects.filter(address=address).delete()
    address.delete()
    return len(stranded)


def _can_receive(candidate: EmailAddress, instead_of: EmailAddress) -> bool:
    others = EmailAddress.objects.filter(user=instead_of.user_id, verified=True).exclude(pk=instead_of.pk)
    return bool(others.filter(pk=candidate.pk).exists())
