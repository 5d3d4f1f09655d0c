"""Making and dropping DKIM keys."""

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from core.exceptions import RuleError
from domains.models.dkim_key import Algorithm, DkimKey
from domains.models.dns_check import DnsCheck
from domains.models.domain import Domain

# Of an algorithm: the one that signs, and the next one or the one before.
KEYS_MAX = 2


class KeyWaits(RuleError, code="dkim_key_waits", status=409):
    """A key of the domain is not in the DNS yet."""


class TooManyKeys(RuleError, code="too_many_dkim_keys", status=409):
    """The domain has as many keys as it may have."""


def make_keys(domain: Domain) -> list[DkimKey]:
    """Make the domain's first keys, one of each algorithm; later, another one of each that it uses.

    A new key signs once a check has found its record; until then, the older one does. Raises KeyWaits and
    TooManyKeys.
    """
    used = set(domain.dkim_keys.values_list("algorithm", flat=True))
    # Finding primes takes a while: before the lock.
    keys = [DkimKey.generate(domain, name) for name in Algorithm if name in used or not used]
    with transaction.atomic():
        Domain.objects.select_for_update().get(pk=domain.pk)
        existing = list(domain.dkim_keys.all())
        for key in existing:
            if key.published is None:
                sentence = _("%(selector)s is not in the DNS yet. Add its record, or delete the key.")
                raise KeyWaits(sentence % {"selector": key.selector})
        kinds = [key.algorithm for key in existing]
        if any(kinds.count(key.algorithm) >= KEYS_MAX for key in keys):
            raise TooManyKeys(_("A domain has at most two keys of each kind. Delete the older one first."))
        taken = {key.selector for key in existing}
        for key in keys:
            key.selector = _selector(key.algorithm, taken)
        return DkimKey.objects.bulk_create(keys)


def _selector(algorithm: str, taken: set[str]) -> str:
    """A selector with today's date."""
    first = f"{timezone.now():%Y%m%d}-{algorithm}"
    return next(name for name in (first, f"{first}-2", f"{first}-3") if name not in taken)


@transaction.atomic
def drop_key(key: DkimKey) -> None:
    """Delete the key: it signs nothing any more, and its record is not looked for."""
    Domain.objects.select_for_update().get(pk=key.domain_id)
    for check in DnsCheck.objects.filter(domain_id=key.domain_id):
        check.findings.pop(key.selector, None)
        check.save(update_fields=["findings"])
    key.delete()
