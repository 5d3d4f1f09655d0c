from typing import Any

from core.audit import AuditEntry
from core.commands import DailyCommand


class Command(DailyCommand):
    help = "Delete audit entries older than AUDIT_DAYS. Run it once a day."

    def act(self, **options: Any) -> str:
        return f"Deleted {AuditEntry.objects.all().prune()} audit entries."
