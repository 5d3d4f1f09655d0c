from typing import Any

from core.commands import DailyCommand
from domains.dns.checking import check
from domains.models import Domain
from domains.models.dns_check import WRONG, State


class Command(DailyCommand):
    help = "Ask the DNS what it says about the domains' records (daily)."

    def act(self, **options: Any) -> str:
        states = [done.state for done in check(*Domain.objects.all())]
        wrong = sum(state in WRONG for state in states)
        unanswered = states.count(State.UNANSWERED)
        return (
            f"Checked the DNS of {len(states)} domains: {wrong} with records to correct, "
            f"{unanswered} without an answer."
        )
