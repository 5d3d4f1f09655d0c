"""What the DNS said about a domain's records when it was last asked."""

from dataclasses import dataclass, field
from typing import Any

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from domains.models.domain import Domain


class State(models.TextChoices):
    """What a record is, compared with the one to set."""

    RIGHT = "right", _("right")
    MISSING = "missing", _("missing")
    DIFFERENT = "different", _("different")
    ELSEWHERE = "elsewhere", _("MX elsewhere")
    # Nobody has to have this record.
    ABSENT = "absent", _("not set")
    UNANSWERED = "unanswered", _("DNS did not answer")


# Those that somebody has to correct.
WRONG = (State.MISSING, State.DIFFERENT)


@dataclass(frozen=True)
class Finding:
    """What was found where one record should be. `reason` is a key of domains.dns.words.SENTENCES."""

    state: State
    reason: str = ""
    found: list[str] = field(default_factory=list)


class DnsCheck(models.Model):
    """The last check of a domain. `findings`: for each record (`mx`, `spf`, `dmarc`, DKIM keys by
    their selector, and services by their label) the fields of Finding."""

    domain = models.OneToOneField(Domain, models.CASCADE, primary_key=True, related_name="dns_check")
    checked = models.DateTimeField(_("checked"), default=timezone.now, editable=False)
    findings = models.JSONField(default=dict, editable=False)

    class Meta:
        verbose_name = _("DNS check")
        verbose_name_plural = _("DNS checks")

    def __str__(self) -> str:
        return str(self.domain)

    def finding(self, record: str) -> Finding | None:
        """What was found for this record; None if it was not looked for."""
        kept: dict[str, Any] | None = self.findings.get(record)
        return Finding(State(kept["state"]), kept["reason"], kept["found"]) if kept else None

    @property
    def wrong_records(self) -> frozenset[str]:
        """The records that somebody has to correct; not those of services, which only mail programs read."""
        return frozenset(
            record
            for record, kept in self.findings.items()
            if kept["state"] in WRONG and not record.startswith("_")
        )

    @property
    def state(self) -> State:
        """The domain's state as a whole: the worst of its records'."""
        states = {kept["state"] for kept in self.findings.values()}
        order = (State.MISSING, State.DIFFERENT, State.UNANSWERED, State.ELSEWHERE)
        return next((state for state in order if state in states), State.RIGHT)

    @property
    def summary(self) -> str:
        """The state as a whole, in words."""
        wrong = sum(kept["state"] in WRONG for kept in self.findings.values())
        if wrong:
            text = ngettext("%(count)s record to correct", "%(count)s records to correct", wrong)
            return text % {"count": wrong}
        return str(self.state.label)


def summary_of(domain: Domain) -> str:
    """The state of the domain's records, in words."""
    check: DnsCheck | None = getattr(domain, "dns_check", None)
    return check.summary if check else gettext("not checked yet")
