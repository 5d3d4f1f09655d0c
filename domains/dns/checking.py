"""Checks what the DNS says about domains' records, and keeps it."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict

from django.db import transaction
from django.utils import timezone

from core.batches import batches
from domains.dns.examining import DMARC, MX, SPF, Expected, PublicKey, examine
from domains.dns.records import mail_host
from domains.dns.services import services
from domains.models.dkim_key import DkimKey
from domains.models.dns_check import WRONG, DnsCheck, Finding, State
from domains.models.domain import Domain

# Domains that are checked at the same time.
AT_ONCE = 20


def check(*domains: Domain) -> list[DnsCheck]:
    """Ask the DNS about the domains and keep the answers. Returns the checks of those that still exist.

    Takes no longer than domains.dns.lookup.DEADLINE for every AT_ONCE of them.
    """
    checks = []
    for some in batches(domains, AT_ONCE):
        expected = [_expected(domain) for domain in some]
        found = asyncio.run(_examine_all(expected))
        checks += [
            kept
            for domain, asked, findings in zip(some, expected, found, strict=True)
            if (kept := _keep(domain, asked, findings)) is not None
        ]
    return checks


async def _examine_all(expected: Sequence[Expected]) -> list[dict[str, Finding]]:
    return await asyncio.gather(*map(examine, expected))


def _expected(domain: Domain) -> Expected:
    keys = {
        key.selector: PublicKey(key.record_name, key.algorithm, key.public)
        for key in DkimKey.objects.filter(domain=domain).select_related("domain")
    }
    return Expected(domain.name, mail_host(), keys, services() if mail_host() else [])


@transaction.atomic
def _keep(domain: Domain, expected: Expected, findings: dict[str, Finding]) -> DnsCheck | None:
    """Write the findings about what was expected; None if the domain was deleted in the meantime.

    A key begins to sign when its record is right, and stops when it is not any more; while the DNS does
    not answer, nothing changes.
    """
    if not Domain.objects.select_for_update().filter(pk=domain.pk).exists():
        return None
    now = timezone.now()
    # Without the keys that were dropped in the meantime, even if new ones have their selectors.
    asked = [key.public for key in expected.keys.values()]
    keys = DkimKey.objects.filter(domain=domain, public__in=asked)
    labels = {service.label for service in expected.services}
    records = {MX, SPF, DMARC, *labels, *keys.values_list("selector", flat=True)}
    findings = {record: finding for record, finding in findings.items() if record in records}
    of_state = {
        state: [selector for selector, finding in findings.items() if finding.state == state]
        for state in State
    }
    keys.filter(selector__in=of_state[State.RIGHT], published=None).update(published=now)
    keys.filter(selector__in=[name for state in WRONG for name in of_state[state]]).update(published=None)
    kept = {record: asdict(finding) for record, finding in findings.items()}
    check, _created = DnsCheck.objects.update_or_create(
        domain=domain, defaults={"checked": now, "findings": kept}
    )
    return check
