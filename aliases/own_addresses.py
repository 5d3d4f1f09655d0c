"""Taking an own address away: no alias is left without a destination."""

from allauth.account.models import EmailAddress
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils.translation import gettext

from accounts.models import User
from aliases.models import Alias, AliasDestination, AliasQuerySet
from core.refusals import RuleError


class AddressNeeded(RuleError):
    """The address signs the user in, or aliases have no other destination."""

    code = "address_needed"
    status = 409


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
