"""DKIM keys for tests, as if a check had found their records."""

from django.utils import timezone

from domains.dkim_keys import make_keys
from domains.models import DkimKey, Domain


def published_keys(domain: Domain) -> list[DkimKey]:
    """The domain's first keys, which sign."""
    keys = make_keys(domain)
    DkimKey.objects.filter(domain=domain).update(published=timezone.now())
    return keys
