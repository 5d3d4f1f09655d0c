from datetime import timedelta
from typing import Any

from django.utils import timezone

from core.commands import RuleCommand
from mail.models import Activity, Bounce, Delivery, SiteFault


class Command(RuleCommand):
    help = "Delete activity older than ACTIVITY_DAYS and old deliveries. Run it once a day."

    def act(self, **options: Any) -> str:
        activities, _rows = Activity.objects.outdated().delete()
        deliveries, _rows = Delivery.objects.outdated().delete()
        Bounce.objects.outdated().delete()
        SiteFault.objects.filter(last__lt=timezone.now() - timedelta(days=30)).delete()
        return f"Deleted {activities} activities and {deliveries} deliveries."
