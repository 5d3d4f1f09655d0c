"""An alias as it is now, and later."""

from datetime import timedelta

import time_machine
from django.utils import timezone

from aliases.models import Alias


def fresh(alias: Alias) -> Alias:
    return Alias.objects.get(pk=alias.pk)


def sent_to(alias: Alias) -> list[str]:
    return [address.email for address in fresh(alias).destination_addresses]


def later(**period: float) -> time_machine.travel:
    return time_machine.travel(timezone.now() + timedelta(**period), tick=False)
