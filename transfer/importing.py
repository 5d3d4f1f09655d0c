"""An import step by step: a file is uploaded, checked, perhaps freed of what is wrong, and made."""

from dataclasses import replace
from datetime import timedelta
from time import monotonic

from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext, gettext_lazy

from accounts.models import User
from aliases import taken
from core.exceptions import RateLimited, RuleError
from core.ratelimit import Limit, count_or_refuse
from transfer.checking import BATCH, check, clean
from transfer.formats import MAILU, format_of, read
from transfer.formats.text import decode
from transfer.making import ImportRefused, Made, make
from transfer.models import PendingImport, State
from transfer.rows import Document, ImportFileError, Problem, printable
from transfer.server import make_server, preview_server

TOO_MANY_FILES = gettext_lazy("Too many files for now. Try again in %(minutes)s minutes.")
UPLOADS = Limit("import-hour", 10, timedelta(hours=1), refusal=TOO_MANY_FILES)
# Rows of all files that are looked up for one person in a day: twice the largest file's.
ROWS_PER_DAY = 100_000
# Seconds of checking in one request.
STEP_SECONDS = 1.0
# How many of the domains, users and aliases of a server's file, and of what is left out, are shown.
PREVIEWED = 100


class OnlyAdmins(RuleError, code="import_only_admins", status=403):
    """A whole server's file makes things of other people's: that is for global admins."""

    def __init__(self) -> None:
        super().__init__(gettext("Only a global admin can import a whole server's file."))


def upload(owner: User, data: bytes, file_name: str) -> PendingImport:
    """The owner's only pending import from now on, with what is wrong with its rows by themselves.

    Raises ImportFileError, OnlyAdmins, RateLimited.
    """
    count_or_refuse((UPLOADS, owner.pk), taken.budget_of(owner))
    text = decode(data)
    format = format_of(text)
    if format == MAILU and not owner.is_superuser:
        raise OnlyAdmins()
    document = read(text, format)
    if not document and not document.left_out:
        raise ImportFileError(
            gettext("There is nothing in the file.")
            if format == MAILU
            else gettext("There are no aliases in the file.")
        )
    document = replace(document, rows=clean(document.rows))
    pending = PendingImport(
        owner=owner, file_name=printable(file_name)[-100:], format=format, contents=document.as_json()
    )
    if pending.is_of_server:
        pending.state = State.CHOOSING
    else:
        _note(pending, [Problem(row.line, row.address, row.problem) for row in document.rows if row.problem])
    if not owner.is_superuser:
        rows = Limit("import-rows-day", ROWS_PER_DAY, timedelta(days=1), pending.total, TOO_MANY_FILES)
        count_or_refuse((rows, owner.pk))
    with transaction.atomic():
        PendingImport.objects.filter(owner=owner).delete()
        pending.save(force_insert=True)
    return pending


def pending_import(owner: User) -> PendingImport | None:
    """The owner's file. Raises OnlyAdmins, having deleted it, if only an admin may have it."""
    pending = PendingImport.objects.filter(owner=owner).first()
    if pending is not None and pending.is_of_server and not owner.is_superuser:
        pending.delete()
        raise OnlyAdmins()
    return pending


def check_rows(pending: PendingImport, seconds: float | None = STEP_SECONDS) -> None:
    """Check further rows of a person's file, for this long or (None) until all are checked."""
    end = None if seconds is None else monotonic() + seconds
    begun, rows = pending.checked, pending.valid_rows
    while pending.state == State.CHECKING and pending.checked < len(rows):
        try:
            taken.check_may_look(pending.owner)
        except RateLimited:
            pending.state = State.STOPPED
            break
        earlier, ahead = rows[: pending.checked], rows[pending.checked : pending.checked + BATCH]
        _note(pending, check(ahead, lambda row: pending.owner, earlier=earlier))
        pending.checked += len(ahead)
        if end is not None and monotonic() >= end:
            break
    if pending.state == State.CHECKING and pending.checked == len(rows):
        pending.state = State.WRONG if pending.problems else State.READY
    checking = PendingImport.objects.filter(pk=pending.pk, checked=begun, state=State.CHECKING)
    if not _store(checking, pending, "checked", "problems", "state"):
        # Another window checked these rows, or took the file away.
        current = PendingImport.objects.filter(pk=pending.pk)
        for stored in current.values("checked", "problems", "state"):
            for name, value in stored.items():
                setattr(pending, name, value)


def check_server(pending: PendingImport, *, create_domains: bool, create_users: bool) -> None:
    """Check a whole server's file, all of it together, as it would be imported with these choices.

    What was left out before is checked again: other choices may have made it right.
    """
    pending.create_domains, pending.create_users, pending.left_out = create_domains, create_users, []
    _check_server(pending)


def _check_server(pending: PendingImport) -> None:
    pending.problems, pending.state = [], State.READY
    choices = {"create_domains": pending.create_domains, "create_users": pending.create_users}
    try:
        found = preview_server(pending.remaining, **choices)
    except ImportRefused as error:
        _note(pending, error.problems)
    else:
        _note(pending, found.problems)
        pending.preview = found.summary(PREVIEWED)
    if pending.problems:
        pending.state = State.WRONG
    names = ("create_domains", "create_users", "left_out", "problems", "state", "preview")
    _store(PendingImport.objects.filter(pk=pending.pk), pending, *names)


def leave_out_wrong(pending: PendingImport) -> None:
    """Leave out the entries that are wrong; nothing happens if nothing would remain."""
    if pending.state != State.WRONG or not pending.right_count:
        return
    pending.left_out = pending.left_out + [problem for problem in pending.problems if problem[0]]
    if pending.is_of_server:
        _check_server(pending)
        return
    # Each that remains was checked, and is once more before it is made.
    pending.problems, pending.state = [], State.READY
    _store(PendingImport.objects.filter(pk=pending.pk), pending, "left_out", "problems", "state")


def make_pending(pending: PendingImport) -> Made | None:
    """Make everything, and return how much; None if another window did. Then the file is deleted.

    Raises ImportRefused, having noted what is wrong by now, and OnlyAdmins.
    """
    # Read before the transaction: on SQLite nobody else writes meanwhile.
    document = pending.remaining
    stored = PendingImport.objects.filter(pk=pending.pk)
    try:
        with transaction.atomic():
            if not stored.delete()[0]:
                return None
            if pending.is_of_server:
                return _make_server(pending, document)
            return Made(make(document.rows, lambda row: pending.owner))
    except ImportRefused as error:
        pending.problems, pending.state = [], State.WRONG
        _note(pending, error.problems)
        # Another window may have taken the file away.
        _store(stored, pending, "problems", "state")
        raise


def _make_server(pending: PendingImport, document: Document) -> Made:
    # Locked: whoever takes the admin's rights away waits, or was there first.
    owner = User.objects.select_for_update().filter(pk=pending.owner_id, is_superuser=True, is_active=True)
    if owner.first() is None:
        raise OnlyAdmins()
    return make_server(document, create_domains=pending.create_domains, create_users=pending.create_users)


def _note(pending: PendingImport, problems: list[Problem]) -> None:
    """Add the problems, up to the first address of others that the reader may not learn about."""
    revealing = [problem for problem in problems if problem.is_taken]
    number = taken.how_many_to_reveal(pending.owner, len(revealing))
    if number < len(revealing):
        pending.state = State.STOPPED
        problems = [problem for problem in problems if problem.line < revealing[number].line]
    pending.problems = [
        *pending.problems,
        *([problem.line, problem.address, problem.reason, problem.section] for problem in problems),
    ]


def _store(stored: QuerySet[PendingImport], pending: PendingImport, *names: str) -> int:
    """Write these fields; 0 if there is no such row any more."""
    return stored.update(**{name: getattr(pending, name) for name in names})
