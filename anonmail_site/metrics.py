"""`/metrics`: what monitoring systems read, in the format of OpenMetrics or Prometheus.

It names no person, address, alias or domain: labels are words of ours (core.tallies).
"""

import hmac
from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from itertools import accumulate
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.db import InterfaceError, OperationalError
from django.db.models import Count as Counted
from django.db.models import Min
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

import anonmail_site.tallies  # noqa: F401 - what is counted there is known then
import hooks.tallies  # noqa: F401 - and there
import mail.delivery.tallies  # noqa: F401 - and there
from accounts.models import User
from anonmail_site.state import domains_to_correct
from core.tallies import BUCKETS, Metric, Moment, Tally, Times
from domains.models import Domain
from hooks.models import HookMessage
from hooks.sending import stopped_by_us
from mail.models import Delivery, PausedDestination, SiteFault

PREFIX = "anonmail_"
# How far back messages with an unknown outcome are looked for: further back, nobody waits for them.
UNDERWAY = timedelta(hours=1)

Sums = dict[tuple[str, ...], dict[str, float]]


@login_not_required
@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """All metrics for who has METRICS_TOKEN; without that setting, the page does not exist."""
    if not settings.METRICS_TOKEN:
        raise Http404
    given = request.headers.get("Authorization", "").encode()
    if not hmac.compare_digest(given, f"Bearer {settings.METRICS_TOKEN}".encode()):
        return HttpResponse(
            "unauthorized", status=401, content_type="text/plain", headers={"WWW-Authenticate": "Bearer"}
        )
    try:
        families = [*_kept(), *_present()]
    except (OperationalError, InterfaceError):
        return HttpResponse("no database", status=503, content_type="text/plain")
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(families))
    return HttpResponse(encode(registry), content_type=content_type)


class _Collected(Collector):
    """Metrics as prometheus_client takes them."""

    def __init__(self, families: list[Any]) -> None:
        self.families = families

    def describe(self) -> list[Any]:
        return []

    def collect(self) -> list[Any]:
        return self.families


def _kept() -> Iterator[Any]:
    """What all processes have counted since the installation was set up."""
    sums: defaultdict[str, Sums] = defaultdict(lambda: defaultdict(dict))
    for tally in Tally.objects.all():
        sums[tally.name][tally.label_values][tally.bucket] = tally.value
    for name, metric in sorted(Metric.known.items()):
        yield _family(metric, sums[name])


def _family(metric: Metric, sums: Sums) -> Any:
    if isinstance(metric, Times):
        histogram = HistogramMetricFamily(PREFIX + metric.name, metric.help, labels=metric.labels)
        for labels, values in sorted(sums.items()):
            counts = accumulate(values.get(bucket, 0) for bucket in BUCKETS)
            histogram.add_metric(labels, list(zip(BUCKETS, counts, strict=True)), values.get("", 0))
        return histogram
    if isinstance(metric, Moment):
        gauge = GaugeMetricFamily(f"{PREFIX}{metric.name}_timestamp_seconds", metric.help)
        for values in sums.values():
            gauge.add_metric((), values[""])
        return gauge
    counter = CounterMetricFamily(PREFIX + metric.name, metric.help, labels=metric.labels)
    for labels, values in sorted(sums.items()):
        counter.add_metric(labels, values[""])
    return counter


def _present() -> Iterator[GaugeMetricFamily]:
    """What the database says of this moment."""
    now = timezone.now()
    underway = Delivery.objects.filter(accepted=None, moment__gte=now - UNDERWAY).aggregate(
        number=Counted("pk"), oldest=Min("moment")
    )
    age = (now - underway["oldest"]).total_seconds() if underway["oldest"] else 0
    faults = SiteFault.objects.filter(last__gte=now - timedelta(days=1))
    for name, help, value in (
        ("users", "People who can sign in", User.objects.filter(is_active=True).count()),
        ("domains", "Domains with the service on", Domain.objects.enabled().count()),
        ("domains_with_wrong_dns", "Domains with DNS records to correct", len(domains_to_correct())),
        ("destinations_paused", "Destinations that are paused", PausedDestination.objects.count()),
        ("mail_faults", "Faults of this site's mail in the last day", faults.count()),
        ("hook_messages_waiting", "Messages that wait for web hooks", HookMessage.objects.waiting().count()),
        ("hooks_stopped", "Web hooks that were stopped because of failures", stopped_by_us().count()),
        ("deliveries_underway", "Copies of messages that are being sent", underway["number"]),
        ("deliveries_underway_oldest_seconds", "Age of the oldest of them", max(age, 0)),
    ):
        yield GaugeMetricFamily(PREFIX + name, help, value=value)
