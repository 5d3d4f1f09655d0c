"""A file that its reader is about to import: kept between the check and the word to go on."""

from collections.abc import Iterator
from datetime import timedelta
from time import monotonic
from typing import Any

from django.apps import apps
from django.db import models, transaction
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from aliases.import_formats import ImportFileError, decode, format_of, printable, read
from aliases.importing import CHUNK, ImportRefused, Prepared, Problem, prepare
from core.models import Counter, Limit, first_over
from core.refusals import RateLimited

UPLOADS = Limit("import-hour", 10, timedelta(hours=1))
PROBLEMS_KEPT = 1000
# A check tells whether addresses are taken, whoever has them: so many it tells of, then it stops.
TAKEN_TOLD = 50
# Seconds of checking in one request.
STEP_SECONDS = 1.0
KEPT = timedelta(days=1)


class PendingImportQuerySet(models.QuerySet["PendingImport"]):
    def begin(self, owner: User, data: bytes, file_name: str) -> "PendingImport":
        """Keep the file as the owner's only one, with what is wrong at first sight.

        Raises ImportFileError, RateLimited.
        """
        if over := first_over(Counter.objects.all().hit((UPLOADS, owner.pk))):
            raise RateLimited(
                gettext("Too many files for now. Try again in %(minutes)s minutes.")
                % {"minutes": over.minutes},
                retry_after=over.retry_after,
            )
        text = decode(data)
        pending = PendingImport(
            owner=owner, file_name=printable(file_name)[-100:], text=text, format=format_of(text)
        )
        prepared = pending.prepared()
        if not prepared.candidates and not prepared.problems:
            raise ImportFileError(gettext("There are no aliases in the file."))
        pending.total = len(prepared.candidates)
        pending._note(prepared.problems)
        with transaction.atomic():
            self.filter(owner=owner).delete()
            pending.save(force_insert=True)
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
    taken_count = models.PositiveIntegerField(default=0)
    problems = models.JSONField(default=list)
    is_stopped = models.BooleanField(default=False)

    objects = PendingImportQuerySet.as_manager()

    class Meta:
        verbose_name = _("pending import")
        verbose_name_plural = _("pending imports")

    def __str__(self) -> str:
        return f"{self.owner_id}: {self.checked}/{self.total}"

    @property
    def is_checked(self) -> bool:
        return self.is_stopped or self.checked >= self.total

    @property
    def is_ready(self) -> bool:
        """Whether everything is right, as far as the check has seen: importing checks once more."""
        return self.is_checked and not self.problem_count

    @property
    def problems_shown(self) -> list[Problem]:
        return sorted((Problem(*row) for row in self.problems), key=lambda problem: problem.line)

    def prepared(self) -> Prepared:
        """The file's rows. Raises ImportFileError."""
        return prepare(read(self.text, self.format).rows, lambda row: self.owner)

    def check_on(self, seconds: float | None = STEP_SECONDS) -> None:
        """Check further rows, for so many seconds or (None) until all are checked."""
        end = None if seconds is None else monotonic() + seconds
        begun = self.checked
        for chunk in self._unchecked():
            problems = _aliases().check_import(chunk)
            told = [problem for problem in problems if problem.is_taken]
            if self.taken_count + len(told) > TAKEN_TOLD:
                self.is_stopped = True
                untold = told[TAKEN_TOLD - self.taken_count].line
                problems = [problem for problem in problems if problem.line < untold]
            self._note(problems)
            self.checked += len(chunk)
            if self.is_stopped or (end is not None and monotonic() >= end):
                break
        fields = ("checked", "problem_count", "taken_count", "problems", "is_stopped")
        same = PendingImport.objects.filter(pk=self.pk, checked=begun)
        if not same.update(**{name: getattr(self, name) for name in fields}):
            # Another window went on meanwhile, or there is nothing left to do.
            self.refresh_from_db(fields=fields)

    def _unchecked(self) -> Iterator[list[Any]]:
        if self.is_checked:
            return
        candidates = self.prepared().candidates
        for start in range(self.checked, len(candidates), CHUNK):
            yield candidates[start : start + CHUNK]

    def _note(self, problems: list[Problem]) -> None:
        self.problem_count += len(problems)
        self.taken_count += sum(problem.is_taken for problem in problems)
        kept = [[problem.line, problem.address, problem.reason] for problem in problems]
        self.problems = [*self.problems, *kept][:PROBLEMS_KEPT]

    def make(self) -> int:
        """Make the aliases and return how many; 0 where another window did it. Then the file is forgotten.

        Raises ImportRefused, having noted what is wrong by now.
        """
        prepared = self.prepared()
        try:
            with transaction.atomic():
                if not PendingImport.objects.filter(pk=self.pk).delete()[0]:
                    return 0
                return int(_aliases().make_imported(prepared))
        except ImportRefused as error:
            self.problems, self.problem_count, self.taken_count = [], 0, 0
            self._note(error.problems)
            self.is_stopped = True
            self.save(update_fields=["problems", "problem_count", "taken_count", "is_stopped"])
            raise


def _aliases() -> Any:
    # This app's models import this module.
    return apps.get_model("aliases", "Alias")._default_manager.all()
