from typing import Any

from accounts.address_mail import send_change
from accounts.models import AddressChange
from core.commands import RuleCommand


class Command(RuleCommand):
    help = "Mail the changes of addresses that could not be told, and forget the old ones. Run it once a day."

    def act(self, **options: Any) -> str:
        told = sum(send_change(change) for change in AddressChange.objects.untold())
        forgotten, _rows = AddressChange.objects.outdated().delete()
        return f"Told {told} and forgot {forgotten} changes of addresses."
