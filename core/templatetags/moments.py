"""Moments in templates."""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from html import escape as _escaped

from django import template
from django.utils import timezone
from django.utils.dateformat import DateFormat
from django.utils.formats import date_format, get_format
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import get_language, gettext, ngettext

register = template.Library()

# From then on, a day says more than its distance.
DAYS_AGO_MAX = 30


@register.filter
def time_tag(moment: datetime) -> SafeString:
    """A <time> element that shows the day in the reader's language and zone; its title has the time too."""
    local, language = timezone.localtime(moment), get_language()
    return _element(moment, local, language, _day(local.date(), language))


@register.filter
def ago(moment: datetime) -> SafeString:
    """A <time> element that shows how long ago it was: "3 hours ago", from a day on in days, and from
    DAYS_AGO_MAX days on the day itself; its title has the exact time."""
    passed = timezone.now() - moment
    if passed >= timedelta(days=DAYS_AGO_MAX):
        return time_tag(moment)
    language = get_language()
    shown = _ago(max(0, int(passed.total_seconds() // 60)), language)
    return _element(moment, timezone.localtime(moment), language, shown)


def _element(moment: datetime, local: datetime, language: str | None, shown: SafeString) -> SafeString:
    day = _day(local.date(), language)
    minute = _minute(local.hour, local.minute, language)
    zone = _escaped(DateFormat(local).T())
    return mark_safe(  # noqa: S308 - all of it is escaped
        f'<time datetime="{moment.astimezone(UTC).isoformat()}" title="{day}{minute} {zone}">{shown}</time>'
    )


# A page shows many moments, and Django takes 20 µs or more to write one: the few different days and
# minutes are kept.


@lru_cache(4096)
def _day(day: date, _language: str | None) -> SafeString:
    return escape(date_format(day, "DATE_FORMAT"))


@lru_cache(4096)
def _ago(minutes: int, _language: str | None) -> SafeString:
    hours, days = minutes // 60, minutes // (24 * 60)
    if days:
        words = ngettext("%(count)s day ago", "%(count)s days ago", days) % {"count": days}
    elif hours:
        words = ngettext("%(count)s hour ago", "%(count)s hours ago", hours) % {"count": hours}
    elif minutes:
        words = ngettext("%(count)s minute ago", "%(count)s minutes ago", minutes) % {"count": minutes}
    else:
        words = gettext("just now")
    return escape(words)


@lru_cache(4096)
def _minute(hour: int, minute: int, _language: str | None) -> SafeString:
    """What DATETIME_FORMAT has after DATE_FORMAT, with which it begins in our languages (a test looks)."""
    rest = get_format("DATETIME_FORMAT").removeprefix(get_format("DATE_FORMAT"))
    return escape(date_format(datetime(1, 1, 1, hour, minute), rest))
