"""Rows of the list: filled into text, they are what the template itself would render."""

import re
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
from core.templatetags.moments import ago, time_tag
from domains.models import Domain

LANGUAGES = [code for code, _name in settings.LANGUAGES]
# Nobody, a contact, one who is blocked, and somebody who is no contact.
SENDERS = (
    None,
    {"address": "a<b@x.test", "contact": 7, "is_blocked": False},
    {"address": "a<b@x.test", "contact": 7, "is_blocked": True},
    {"address": "a<b@x.test", "contact": None, "is_blocked": None},
)
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
        alias.last_sender = SENDERS[number % len(SENDERS)]  # type: ignore[attr-defined]
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
    found = (alias for alias in kinds_of_rows() if len(alias.note) > 9 and alias.forwards)
    alias = next(alias for alias in found if alias.last_sender)  # type: ignore[attr-defined]
    alias.hostname = "x<y"

    row = row_of(alias)

    for text in (
        f"<b>o&#x27;x&amp;{alias.pk}</b><wbr>@münchen.de",
        "&lt;b&gt;100 % “x” %(pk)s &amp; {{ y }}",
        "<span>x&lt;y</span>",
        "a&amp;1@home.test, a&amp;2@home.test</a></span>",
        "from a&lt;b@x.test",
        "forwarded 1234",
    ):
        assert text in row
    assert "blocked" not in row


@pytest.mark.parametrize(
    ("note", "is_changed_in_its_row"),
    [("", False), ("Shoes", True), ("x" * 160, True), ("x" * 161, False), ("two\nlines", False)],
)
def test_a_note_is_changed_in_its_row_if_it_is_shown_whole(note: str, is_changed_in_its_row: bool) -> None:
    alias = kinds_of_rows()[0]
    alias.note = note

    assert ('<a class="alias__note"' in row_of(alias)) is is_changed_in_its_row


def test_a_row_offers_to_block_a_contact_who_is_not_blocked() -> None:
    alias = next(alias for alias in kinds_of_rows() if alias.forwards)

    offered = []
    for alias.last_sender in SENDERS:  # type: ignore[attr-defined]
        offered.append("/contacts/7/block/" in row_of(alias))

    assert offered == [False, True, False, False]


@pytest.mark.parametrize(
    ("passed", "english", "german"),
    [
        (timedelta(seconds=-5), "just now", "gerade eben"),
        (timedelta(seconds=59), "just now", "gerade eben"),
        (timedelta(minutes=1), "1 minute ago", "vor 1 Minute"),
        (timedelta(minutes=59, seconds=59), "59 minutes ago", "vor 59 Minuten"),
        (timedelta(hours=1), "1 hour ago", "vor 1 Stunde"),
        (timedelta(hours=23, minutes=59), "23 hours ago", "vor 23 Stunden"),
        (timedelta(days=1), "1 day ago", "vor 1 Tag"),
        (timedelta(days=29, hours=23), "29 days ago", "vor 29 Tagen"),
        (timedelta(days=30), "Jan. 30, 2026", "30. Januar 2026"),
    ],
)
def test_a_moment_is_told_by_its_distance(
    monkeypatch: pytest.MonkeyPatch, passed: timedelta, english: str, german: str
) -> None:
    monkeypatch.setattr("django.utils.timezone.now", lambda: CREATED)
    moment = CREATED - passed

    for language, words in (("en", english), ("de", german)):
        with translation.override(language):
            assert f">{words}</time>" in ago(moment)
            assert ago(moment).replace(f">{words}<", ">x<") == re.sub(r">.*<", ">x<", time_tag(moment))


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
