"""What the admin's home shows: how much there is, and what needs attention."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db.models import Count as Counted
from django.db.models import Exists, OuterRef, QuerySet
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext, ngettext

from accounts.models import User
from aliases.models import Alias
from core.admin import COUNT_MAX, AtLeast
from domains.models import DnsCheck, Domain
from domains.models.dns_check import WRONG
from mail.models import Activity, FailedDelivery, PausedDestination, SiteFault

# Of each kind that needs attention, so many are named.
NAMED_MAX = 5
# A destination where so many messages failed within a day needs attention: one now and then does not.
FAILED_MIN = 3
# Domains whose DNS is looked at.
DOMAINS_MAX = 1000


@dataclass(frozen=True)
class Count:
    label: str
    number: int
    url: str = ""


@dataclass(frozen=True)
class Need:
    """Something that needs attention: a sentence, and where to help, by name."""

    sentence: str
    links: list[tuple[str, str]] = field(default_factory=list)


def counts() -> list[Count]:
    """How many of each kind there are, counted up to COUNT_MAX."""
    day = timezone.now() - timedelta(days=1)
    return [
        Count(
            gettext("Domains with the service on"), _count(Domain.objects.enabled()), _list("domains_domain")
        ),
        Count(
            gettext("Active users"),
            _count(User.objects.filter(is_active=True)),
            _list("accounts_user"),
        ),
        Count(gettext("Aliases"), _count(Alias.objects.present()), _list("aliases_alias")),
        Count(gettext("Messages in 24 hours"), _count(Activity.objects.filter(moment__gte=day))),
        Count(
            gettext("Failed deliveries in 24 hours"),
            _count(FailedDelivery.objects.filter(moment__gte=day)),
            _list("mail_faileddelivery"),
        ),
    ]


def needs() -> list[Need]:
    """What needs attention now."""
    return [need for need in (_faults(), _dns(), _failing(), _paused(), _switched_off()) if need]


def _faults() -> Need | None:
    recent = SiteFault.objects.filter(last__gte=timezone.now() - timedelta(days=1)).order_by("-last")
    found = list(recent[: NAMED_MAX + 1])
    sentence = gettext("Other servers refuse this site's mail.")
    return _need(
        sentence, [(fault.what, reverse("admin:mail_sitefault_change", args=[fault.pk])) for fault in found]
    )


def domains_to_correct() -> list[Domain]:
    """The domains whose DNS records are not as they should be."""
    checks = DnsCheck.objects.filter(domain__anonmail_enabled=True).select_related("domain")
    return [check.domain for check in checks[:DOMAINS_MAX] if check.state in WRONG]


def _dns() -> Need | None:
    wrong = domains_to_correct()
    sentence = ngettext(
        "%(count)s domain has DNS records to correct.",
        "%(count)s domains have DNS records to correct.",
        len(wrong),
    ) % {"count": len(wrong)}
    return _need(sentence, [(str(domain), reverse("domain-dns", args=[domain.name])) for domain in wrong])


def _failing() -> Need | None:
    """Destinations that are not paused, but refuse much: their mailbox may be full."""
    recent = FailedDelivery.objects.filter(
        moment__gte=timezone.now() - timedelta(days=1), destination__isnull=False, destination__paused=None
    )
    often = recent.values_list("destination__email").annotate(failed=Counted("pk"))
    found = often.filter(failed__gte=FAILED_MIN).order_by("-failed", "destination__email")
    sentence = gettext("Deliveries to these destinations failed repeatedly in the last 24 hours.")
    url = _list("mail_faileddelivery")
    return _need(
        sentence,
        [
            (f"{email} ({failed})", f"{url}?{urlencode({'q': email})}")
            for email, failed in found[: NAMED_MAX + 1]
        ],
    )


def _paused() -> Need | None:
    paused = PausedDestination.objects.order_by("-since").select_related("destination__user")
    number = _count(paused)
    sentence = ngettext(
        "%(count)s destination refused mail and is paused. Its owner can test and resume it.",
        "%(count)s destinations refused mail and are paused. Their owners can test and resume them.",
        number,
    ) % {"count": number}
    owners = {row.destination.user for row in paused[:NAMED_MAX]}
    return _need(
        sentence, [(str(user), reverse("admin:accounts_user_change", args=[user.pk])) for user in owners]
    )


def _switched_off() -> Need | None:
    has_aliases = Exists(Alias.objects.present().filter(domain=OuterRef("pk")))
    off = list(Domain.objects.filter(has_aliases, anonmail_enabled=False)[: NAMED_MAX + 1])
    sentence = gettext("Domains with aliases are switched off: nobody can create more there.")
    return _need(
        sentence, [(str(domain), reverse("admin:domains_domain_change", args=[domain.pk])) for domain in off]
    )


def _need(sentence: str, links: list[tuple[str, str]]) -> Need | None:
    if not links:
        return None
    more = [("…", "")] if len(links) > NAMED_MAX else []
    return Need(sentence, links[:NAMED_MAX] + more)


def _count(rows: "QuerySet[Any]") -> int:
    number = rows.order_by()[:COUNT_MAX].count()
    return AtLeast(number) if number == COUNT_MAX else number


def _list(name: str) -> str:
    return reverse(f"admin:{name}_changelist")
