from typing import Any

from accounts.address_mail import send_change
from accounts.models import AddressChange
from core.commands import DailyCommand


class Command(DailyCommand):
    help = (
        "Send the mails about address changes that could not be sent, and delete old changes. Run it daily."
    )

    def act(self, **options: Any) -> str:
        sent = sum(send_change(change) for change in AddressChange.objects.untold())
        deleted, _rows = AddressChange.objects.outdated().delete()
        return f"Sent {sent} mails and deleted {deleted} address changes."
