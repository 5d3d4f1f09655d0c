"""What the commands about domains share."""

from django.core.management.base import CommandError

from core.addresses import AddressError, domain_to_ascii
from domains.models import Domain


def find_domain(name: str) -> Domain:
    """The domain of this name, in any form. Raises CommandError."""
    try:
        return Domain.objects.get(name=domain_to_ascii(name))
    except (AddressError, Domain.DoesNotExist) as error:
        raise CommandError(f"There is no domain {name}.") from error
