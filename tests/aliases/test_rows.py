"""Rows of the list: filled into text, they are what the template itself would render."""

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from allauth.account.models import EmailAddress
from django.conf import settings
from django.template import Context, Template
from django.template.loader import render_to_string
from django.utils import timezone, translation
from django.utils.formats import date_format

from aliases.models import Alias, AliasExpiry
from aliases.rows import row_of, row_values
from core.patterns import fill
from core.templatetags.moments import time_tag
from domains.models import Domain

LANGUAGES = [code for code, _name in settings.LANGUAGES]
CREATED = datetime(2026, 3, 1, 23, 30, 1, 5, tzinfo=UTC)


def kinds_of_rows() -> list[Alias]:
    """Aliases, not stored, of each kind that the template tells apart."""
    found = []
    for number, (enabled, pinned, note, hostname, mails, ends) in enumerate(
        product(
            (True, False),
            (True, False),
            ("", "0", "<b>100 % “x” %(pk)s & {{ y }}\n" * 9),
            ("", "xn--mnchen-3ya.de"),
            (0, 1234),
            (None, "ends", "ended"),
        ),
        1,
    ):
        alias = Alias(
            pk=number,
            domain=Domain(name="example.com"),
            address=f"o'x&{number}@xn--mnchen-3ya.de",
            enabled=enabled,
            pinned=pinned,
            note=note,
            hostname=hostname,
            forwards=mails,
            created=CREATED,
            active_at=CREATED + timedelta(hours=number),
        )
        alias.destination_addresses = [EmailAddress(email=f"a&{place}@home.test") for place in range(1, 3)]
        alias._state.fields_cache["expiry"] = None  # loaded: it has none
        if ends:
            expired_at = CREATED if ends == "ended" else None
            alias.expiry = AliasExpiry(alias=alias, expires_at=CREATED, expired_at=expired_at)
        found.append(alias)
    return found


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_row_is_what_its_template_renders(language: str) -> None:
    rows = kinds_of_rows()

    with translation.override(language):
        for alias in [*rows, *rows]:
            values = row_values(alias)
            assert fill("aliases/_row.html", values) == render_to_string("aliases/_row.html", values)


def test_what_people_write_is_text_in_a_row() -> None:
    (alias, *_others) = (alias for alias in kinds_of_rows() if len(alias.note) > 9 and alias.forwards)
    alias.hostname = "x<y"

    row = row_of(alias)

    for text in (
        f"o&#x27;x&amp;{alias.pk}@münchen.de",
        "&lt;b&gt;100 % “x” %(pk)s &amp; {{ y }}",
        "<span>x&lt;y</span>",
        "→ a&amp;1@home.test, a&amp;2@home.test</span>",
        "forwarded 1234",
        "blocked 0",
    ):
        assert text in row


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Vienna", "America/St_Johns", "Asia/Kolkata"])
def test_a_moment_is_written_as_django_writes_it(language: str, zone: str) -> None:
    django = Template(
        "{% load tz %}<time datetime=\"{{ moment|utc|date:'c' }}\" "
        "title=\"{{ moment|date:'DATETIME_FORMAT' }} {{ moment|date:'T' }}\">"
        "{{ moment|date:'DATE_FORMAT' }}</time>"
    )
    # Each hour of the days on which clocks change, midnight and noon among them.
    moments = [
        datetime(2026, month, day, hour, minute, 7, 9, tzinfo=UTC)
        for month, day in ((3, 29), (10, 25), (11, 1), (12, 31))
        for hour in range(24)
        for minute in (0, 30)
    ]

    with translation.override(language), timezone.override(zone):
        for moment in moments:
            assert time_tag(moment) == django.render(Context({"moment": moment}))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_time_begins_with_its_day(language: str) -> None:
    with translation.override(language):
        day, moment = (date_format(CREATED, name) for name in ("DATE_FORMAT", "DATETIME_FORMAT"))

    assert moment.startswith(day)
