from typing import Any

from core.commands import RuleCommand
from mail.models import Activity, Delivery


class Command(RuleCommand):
    help = "Delete activity older than ACTIVITY_DAYS and deliveries that nobody asks for. Run it once a day."

    def act(self, **options: Any) -> str:
        activities, _rows = Activity.objects.outdated().delete()
        deliveries, _rows = Delivery.objects.outdated().delete()
        return f"Deleted {activities} activities and {deliveries} deliveries."
