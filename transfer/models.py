"""A file that somebody is about to import."""

from datetime import timedelta
from functools import cached_property

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from transfer.rows import Document, Problem, Row

KEPT = timedelta(days=1)


class State(models.TextChoices):
    """How far an import has come."""

    # A whole server's file waits for its admin's choices.
    CHOOSING = "choosing"
    CHECKING = "checking"
    READY = "ready"
    WRONG = "wrong"
    # Its owner may learn of no more addresses of others today, so nothing more is looked up.
    STOPPED = "stopped"


class PendingImportQuerySet(models.QuerySet["PendingImport"]):
    def old(self) -> "PendingImportQuerySet":
        """Those that nobody came back to within a day."""
        return self.filter(created__lte=timezone.now() - KEPT)


class PendingImport(models.Model):
    """A person's file: its rows, how far their check has come, and what is wrong with them."""

    owner = models.OneToOneField(User, models.CASCADE, related_name="pending_import")
    created = models.DateTimeField(default=timezone.now)
    file_name = models.CharField(max_length=100, blank=True)
    format = models.CharField(max_length=20)
    state = models.CharField(max_length=20, choices=State, default=State.CHECKING)
    # What the file contains (Document.as_json), each row as it would be stored.
    contents = models.JSONField()
    # How many of the rows that break no rule by themselves were looked up.
    checked = models.PositiveIntegerField(default=0)
    # What is wrong, and what its reader left out for that: the fields of Problem.
    problems = models.JSONField(default=list)
    left_out = models.JSONField(default=list)
    # Of a whole server's file: what its admin chose, and what it would make.
    create_domains = models.BooleanField(default=False)
    create_users = models.BooleanField(default=False)
    preview = models.JSONField(default=dict)

    objects = PendingImportQuerySet.as_manager()

    class Meta:
        db_table = "aliases_pendingimport"
        verbose_name = _("pending import")
        verbose_name_plural = _("pending imports")

    def __str__(self) -> str:
        return f"{self.owner_id}: {self.state}"

    @cached_property
    def document(self) -> Document:
        """Everything in the file."""
        return Document.from_json(self.contents)

    @property
    def remaining(self) -> Document:
        """The file without what was left out."""
        return self.document.without(Problem(*row) for row in self.left_out)

    @property
    def is_of_server(self) -> bool:
        """Whether it is a whole server's file, with domains and users."""
        # The readers of files stay out of the memory of mail servers, which load all models.
        from transfer.formats import MAILU

        return self.format == MAILU

    @property
    def valid_rows(self) -> list[Row]:
        """The aliases that break no rule by themselves."""
        return [row for row in self.remaining.rows if not row.problem]

    @property
    def total(self) -> int:
        return len(self.valid_rows)

    @property
    def problems_in_order(self) -> list[Problem]:
        return sorted((Problem(*row) for row in self.problems), key=lambda problem: problem.line)

    @property
    def right_count(self) -> int:
        """How many entries remain without those that are wrong; 0 if not all are checked."""
        if self.state not in {State.READY, State.WRONG}:
            return 0
        wrong = {(row.section, row.line) for row in self.problems_in_order if row.line}
        return len(self.remaining) - len(wrong)
