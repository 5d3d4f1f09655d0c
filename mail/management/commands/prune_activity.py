from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Exists, OuterRef
from django.utils import timezone

from aliases.models import SenderDomain
from contacts.models import Contact
from core.commands import DailyCommand
from mail.models import RETURNED_DAYS, Activity, Bounce, Delivery, ReturnedMessage, SiteFault

# A message that is handed over again within this time is recognised: longer than queues keep mail.
DELIVERY_MEMORY = timedelta(days=5)
# Longer than a return path is valid, and than the run of bounces that pauses a destination.
BOUNCE_MEMORY = timedelta(days=60)
FAULT_MEMORY = timedelta(days=30)
# How long a stranger waits for an owner to say that they may write.
STRANGER_MEMORY = timedelta(days=30)
_MAIL_FROM_IT = Activity.objects.filter(alias=OuterRef("alias"), sender_domain=OuterRef("domain"))


class Command(DailyCommand):
    help = (
        "Delete activity older than ACTIVITY_DAYS, old deliveries, returned messages, strangers who have "
        "waited in vain, and senders who have not written again. Run it once a day."
    )

    def act(self, **options: Any) -> str:
        now = timezone.now()
        too_old = now - timedelta(days=settings.ACTIVITY_DAYS)
        messages = timedelta(days=min(RETURNED_DAYS, settings.ACTIVITY_DAYS))
        ReturnedMessage.objects.filter(moment__lt=now - messages).delete()
        activities, _rows = Activity.objects.filter(moment__lt=too_old).delete()
        deliveries, _rows = Delivery.objects.filter(moment__lt=now - DELIVERY_MEMORY).delete()
        Bounce.objects.filter(moment__lt=now - BOUNCE_MEMORY).delete()
        Contact.objects.waiting_for_owner().filter(created__lt=now - STRANGER_MEMORY).delete()
        SenderDomain.objects.dispensable().filter(~Exists(_MAIL_FROM_IT), first_at__lt=too_old).delete()
        SiteFault.objects.filter(last__lt=now - FAULT_MEMORY).delete()
        return f"Deleted {activities} activities and {deliveries} deliveries."
