"""A file that its reader is about to import: kept between the check and the word to go on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import Any

from django.db import models, transaction
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from aliases import taken
from core.exceptions import RateLimited, RuleError
from core.ratelimit import Limit, count_or_refuse
from transfer.formats.reading import MAILU, decode, format_of, read
from transfer.making import (
    CHUNK,
    Candidate,
    ImportRefused,
    Prepared,
    Problem,
    check_rows,
    make_aliases,
    prepare,
)
from transfer.rows import Document, ImportFileError, Row, printable
from transfer.server import import_mailu, preview_mailu

TOO_MANY_FILES = _("Too many files for now. Try again in %(minutes)s minutes.")
UPLOADS = Limit("import-hour", 10, timedelta(hours=1), refusal=TOO_MANY_FILES)
# Rows of all files that are looked up for one person in a day: twice the largest file's.
ROWS_PER_DAY = 100_000
PROBLEMS_KEPT = 1000
# Seconds of checking in one request.
STEP_SECONDS = 1.0
KEPT = timedelta(days=1)
# So many of the domains, users and aliases of a server's file, and of what is left out, are shown.
SEEN_KEPT = 100


class OnlyAdmins(RuleError):
    """A whole server's file makes things of other people's: that is for global admins."""

    code = "import_only_admins"
    status = 403

    def __init__(self) -> None:
        super().__init__(gettext("Only a global admin can import a whole server's file."))


@dataclass(frozen=True, slots=True)
class Made:
    """How many of each an import made."""

    aliases: int
    users: int = 0
    domains: int = 0


class PendingImportQuerySet(models.QuerySet["PendingImport"]):
    def begin(self, owner: User, data: bytes, file_name: str) -> "PendingImport":
        """Keep the file as the owner's only one, with what is wrong at first sight.

        Raises ImportFileError, OnlyAdmins, RateLimited.
        """
        count_or_refuse((UPLOADS, owner.pk), taken.looking(owner))
        text = decode(data)
        pending = PendingImport(
            owner=owner, file_name=printable(file_name)[-100:], text=text, format=format_of(text)
        )
        pending._look()
        if not owner.is_superuser:
            rows = Limit("import-rows-day", ROWS_PER_DAY, timedelta(days=1), pending.total, TOO_MANY_FILES)
            count_or_refuse((rows, owner.pk))
        with transaction.atomic():
            self.filter(owner=owner).delete()
            pending.save(force_insert=True)
        return pending

    def of(self, owner: User) -> "PendingImport | None":
        """The owner's file. Raises OnlyAdmins, having forgotten it, if only an admin may have it."""
        pending = self.filter(owner=owner).first()
        if pending is not None and pending.is_of_server and not owner.is_superuser:
            pending.delete()
            raise OnlyAdmins()
        return pending

    def old(self) -> "PendingImportQuerySet":
        """Those that nobody came back to within a day."""
        return self.filter(created__lte=timezone.now() - KEPT)


class PendingImport(models.Model):
    """One file of a person's, how far its check has come, and what is wrong with it."""

    owner = models.OneToOneField(User, models.CASCADE, related_name="pending_import")
    created = models.DateTimeField(default=timezone.now)
    file_name = models.CharField(max_length=100, blank=True)
    format = models.CharField(max_length=20)
    text = models.TextField()
    # Rows that break no rule by themselves, and how many of them were looked up.
    total = models.PositiveIntegerField(default=0)
    checked = models.PositiveIntegerField(default=0)
    problem_count = models.PositiveIntegerField(default=0)
    problems = models.JSONField(default=list)
    # Whether its reader has learned of so many addresses of others that no more is looked at.
    is_stopped = models.BooleanField(default=False)
    # How many there are in the file at all, but for those that its reader took out.
    row_count = models.PositiveIntegerField(default=0)
    # The lines of all that is wrong, and of what its reader took out of the file; of a whole server's file:
    # each as section, line and reason.
    wrong = models.JSONField(default=list)
    left_out = models.JSONField(default=list)
    # Of a whole server's file: what its admin chose, how much is in it, and what it would make.
    create_domains = models.BooleanField(default=False)
    create_users = models.BooleanField(default=False)
    seen = models.JSONField(default=dict)

    objects = PendingImportQuerySet.as_manager()

    class Meta:
        db_table = "aliases_pendingimport"
        verbose_name = _("pending import")
        verbose_name_plural = _("pending imports")

    def __str__(self) -> str:
        return f"{self.owner_id}: {self.checked}/{self.total}"

    @property
    def is_of_server(self) -> bool:
        """Whether it is a whole server's file, with domains and users."""
        return self.format == MAILU

    @property
    def is_checked(self) -> bool:
        return self.is_stopped or self.checked >= self.total

    @property
    def is_ready(self) -> bool:
        """Whether everything is right, as far as the check has seen: importing checks once more."""
        return self.is_checked and not self.is_stopped and not self.problem_count

    @property
    def problems_shown(self) -> list[Problem]:
        return sorted((Problem(*row) for row in self.problems), key=lambda problem: problem.line)

    def prepared(self) -> Prepared:
        """The file's rows, but for those that were taken out. Raises ImportFileError."""
        return prepare(self._rows(), lambda row: self.owner)

    def _rows(self) -> list[Row]:
        left_out = set(self.left_out)
        return [row for row in read(self.text, self.format).rows if row.line not in left_out]

    def first_rows(self, number: int) -> list[Candidate]:
        """The first rows of a file in which nothing is wrong; the others are not looked at again."""
        return prepare(self._rows()[:number], lambda row: self.owner).candidates

    @property
    def right_count(self) -> int:
        """How many rows are left once those that are wrong are taken out; 0 where that is not offered."""
        if not self.is_checked or self.is_stopped:
            return 0
        if self.is_of_server:
            wrong = {(section, line) for section, line, _reason in self.wrong if line}
            return self.row_count - len(wrong) if wrong else 0
        return self.row_count - len(set(self.wrong) - {0})

    def leave_out_wrong(self) -> None:
        """Take the rows that are wrong out of the file; nothing happens where nothing would be left."""
        if not self.problem_count or not self.right_count:
            return
        if self.is_of_server:
            self.left_out = [*self.left_out, *(entry for entry in self.wrong if entry[1])]
            self._check_server()
            return
        self.left_out = sorted({*self.left_out, *self.wrong} - {0})
        self.problems, self.problem_count, self.wrong = [], 0, []
        # Each that is left was looked up, and is once more before it is made.
        self.total = self.checked = self.row_count = len(self.prepared().candidates)
        self._keep("left_out", "problems", "problem_count", "wrong", "total", "checked", "row_count")

    def _look(self) -> None:
        if self.is_of_server:
            self._look_at_server()
            return
        prepared = self.prepared()
        if not prepared.candidates and not prepared.problems:
            raise ImportFileError(gettext("There are no aliases in the file."))
        self.total = len(prepared.candidates)
        self.row_count = len(prepared.candidates) + len(prepared.problems)
        self._note(prepared.problems)

    def _look_at_server(self) -> None:
        if not self.owner.is_superuser:
            raise OnlyAdmins()
        document = self._document()
        aliases = len(document.rows) + len(document.left_out)
        held = {"domains": len(document.domains), "users": len(document.users), "aliases": aliases}
        self.total = sum(held.values())
        if not self.total:
            raise ImportFileError(gettext("There is nothing in the file."))
        self.seen = {"held": held, "is_json": document.is_json}

    def _document(self) -> Document:
        """A whole server's file, but for what its reader took out."""
        return read(self.text, self.format).without(
            (section, line, reason) for section, line, reason in self.left_out
        )

    def check_server(self, *, create_domains: bool, create_users: bool) -> None:
        """Check a whole server's file, all of it together, as it would be imported with these choices.

        What was taken out before is looked at again: other choices may have mended it.
        """
        self.create_domains, self.create_users, self.left_out = create_domains, create_users, []
        self._check_server()

    def _check_server(self) -> None:
        document = self._document()
        self.row_count = len(document.rows) + len(document.domains) + len(document.users)
        self._forget_problems()
        try:
            found = preview_mailu(
                document, create_domains=self.create_domains, create_users=self.create_users
            )
        except ImportRefused as error:
            self._note(error.problems)
        else:
            self._note(found.problems)
            self.seen = {**self.seen, **found.told(SEEN_KEPT)}
        self.checked = self.total
        fields = (
            "create_domains",
            "create_users",
            "problems",
            "problem_count",
            "wrong",
            "left_out",
            "row_count",
            "seen",
            "checked",
        )
        self._keep(*fields)

    def check_on(self, seconds: float | None = STEP_SECONDS) -> None:
        """Check further rows, for so many seconds or (None) until all are checked."""
        end = None if seconds is None else monotonic() + seconds
        begun = self.checked
        for chunk in self._unchecked():
            self._tell(check_rows(chunk))
            self.checked += len(chunk)
            if self.is_stopped or (end is not None and monotonic() >= end):
                break
        fields = ("checked", "problem_count", "problems", "wrong", "is_stopped")
        if not self._keep(*fields, checked=begun):
            # Another window went on meanwhile, or there is nothing left to do; or it took the file away.
            for name, value in (
                PendingImport.objects.filter(pk=self.pk).values(*fields).first() or {}
            ).items():
                setattr(self, name, value)

    def _tell(self, problems: list[Problem]) -> None:
        """Note what is wrong, up to the first address of others' that the reader may not be told of."""
        told = [problem for problem in problems if problem.is_taken]
        number = taken.how_many_to_tell(self.owner, len(told))
        if number < len(told):
            self.is_stopped = True
            problems = [problem for problem in problems if problem.line < told[number].line]
        self._note(problems)

    def _unchecked(self) -> Iterator[list[Candidate]]:
        if self.is_checked:
            return
        candidates = self.prepared().candidates
        for start in range(self.checked, len(candidates), CHUNK):
            try:
                taken.check_may_look(self.owner)
            except RateLimited:
                self.is_stopped = True
                return
            yield candidates[start : start + CHUNK]

    def _keep(self, *fields: str, **condition: Any) -> int:
        """Store these fields; 0 where the file is gone, or the condition holds no longer."""
        stored = PendingImport.objects.filter(pk=self.pk, **condition)
        return stored.update(**{name: getattr(self, name) for name in fields})

    def _forget_problems(self) -> None:
        self.problems, self.problem_count, self.wrong = [], 0, []

    def _note(self, problems: list[Problem]) -> None:
        self.problem_count += len(problems)
        kept = [[problem.line, problem.address, problem.reason] for problem in problems]
        self.problems = [*self.problems, *kept][:PROBLEMS_KEPT]
        if self.is_of_server:
            self.wrong = [*self.wrong, *([row.section, row.line, row.reason] for row in problems)]
        else:
            self.wrong = [*self.wrong, *(problem.line for problem in problems)]

    def make(self) -> Made | None:
        """Make everything, and return how much; None where another window did it. Then the file is forgotten.

        Raises ImportRefused, having noted what is wrong by now, and OnlyAdmins.
        """
        # Read before the transaction: on SQLite nobody else writes meanwhile.
        make: Callable[[], Made]
        if self.is_of_server:
            make = partial(self._make_server, self._document())
        else:
            make = partial(self._make_aliases, self.prepared())
        try:
            with transaction.atomic():
                if not PendingImport.objects.filter(pk=self.pk).delete()[0]:
                    return None
                return make()
        except ImportRefused as error:
            self._forget_problems()
            self._tell(error.problems)
            # Another window may have taken the file away.
            self._keep("problems", "problem_count", "wrong", "is_stopped")
            raise

    @staticmethod
    def _make_aliases(prepared: Prepared) -> Made:
        return Made(make_aliases(prepared))

    def _make_server(self, document: Document) -> Made:
        # Locked: whoever takes the admin's rights away waits, or was there first.
        owner = User.objects.select_for_update().filter(pk=self.owner_id, is_superuser=True, is_active=True)
        if owner.first() is None:
            raise OnlyAdmins()
        found = import_mailu(document, create_domains=self.create_domains, create_users=self.create_users)
        return Made(len(found.prepared.candidates), len(found.users), len(found.domains))
