from typing import Any

from core.commands import RuleCommand
from transfer.models import PendingImport


class Command(RuleCommand):
    help = "Forget files that were checked for an import a day ago or earlier. Run it once a day."

    def act(self, **options: Any) -> str:
        forgotten, _rows = PendingImport.objects.all().old().delete()
        return f"Forgot {forgotten} files that nobody imported."
