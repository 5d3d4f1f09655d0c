from typing import Any

from core.commands import DailyCommand
from transfer.models import PendingImport


class Command(DailyCommand):
    help = "Delete files that were uploaded for an import at least a day ago. Run it once a day."

    def act(self, **options: Any) -> str:
        forgotten, _rows = PendingImport.objects.all().old().delete()
        return f"Deleted {forgotten} files that nobody imported."
