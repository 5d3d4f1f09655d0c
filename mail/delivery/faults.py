"""Faults of this site itself, which only its administrators can put right: they get a mail."""

import logging
import threading
import time
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, InterfaceError, transaction
from django.db.models import Q
from django.utils import timezone

from accounts.models import User
from core.mails import send_template
from mail.models import SiteFault

logger = logging.getLogger(__name__)

# Seconds in which one process writes the same fault once.
PERIOD = 60.0
# How often administrators get a mail about the same fault; a little less than a day, for an early daily run.
REPORT_AGAIN = timedelta(hours=23)

_noted: dict[str, float] = {}
_lock = threading.Lock()


def note_fault(what: str) -> None:
    """Remember and log what refuses this site's mail (codes, no address). Never raises."""
    now = time.monotonic()
    with _lock:
        if now - _noted.get(what, float("-inf")) < PERIOD:
            return
        _noted[what] = now
    logger.error("this site's mail is refused: %s", what)
    try:
        with transaction.atomic():
            SiteFault.objects.update_or_create(what=what[:100], defaults={"last": timezone.now()})
    except (DatabaseError, InterfaceError) as error:
        logger.warning("mail fault not written: %s", type(error).__name__)


def report_faults() -> int:
    """Mail each global admin the last day's faults that were not reported today, and return their number.
    Raises OSError if the mail cannot be sent; the next call tries again."""
    now = timezone.now()
    unreported = Q(told_at=None) | Q(told_at__lt=now - REPORT_AGAIN)
    faults = list(SiteFault.objects.filter(unreported, last__gte=now - timedelta(days=1)).order_by("first"))
    admins = list(User.objects.filter(is_superuser=True, is_active=True))
    if not faults or not admins:
        return 0
    context = {"faults": faults, "site_url": settings.SITE_URL}
    for admin in admins:
        language = admin.language or settings.LANGUAGE_CODE
        send_template("mail/email/faults", admin.email, context, language=language)
    SiteFault.objects.filter(pk__in=[fault.pk for fault in faults]).update(told_at=now)
    return len(faults)
