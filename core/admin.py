"""What the admin pages share: lists that never count a whole table, and refusals as messages."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, TypeVar

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db import models, transaction
from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from core.audit import AuditEntry
from core.exceptions import RuleError
from core.forms import TextField
from core.spreadsheets import csv_download, csv_lines
from core.templatetags.moments import ago, time_tag

COUNT_MAX = 10_000
# "Select all" reaches beyond the page: an action takes at most this many rows.
ACTION_MAX = 1_000

Row = TypeVar("Row", bound=models.Model)


class CappedPaginator(Paginator[Any]):
    """Counts up to COUNT_MAX: a list ends there, and search reaches the rest."""

    @cached_property
    def count(self) -> int:
        rows = self.object_list
        if isinstance(rows, models.QuerySet):
            return rows.order_by()[:COUNT_MAX].count()
        return len(rows)


class ReadOnly:
    """For an admin or inline whose rows nobody adds, changes or deletes here."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class AtLeast(int):
    """A number at which counting stopped, shown as `10,000+`."""

    def __str__(self) -> str:
        return f"{int(self):,}+"


class CappedChangeList(ChangeList):
    """Shows that there may be more rows than were counted."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if self.result_count >= COUNT_MAX:
            self.result_count = AtLeast(self.result_count)


def moment_column(field: models.DateTimeField[Any, Any]) -> Callable[[Any], Any]:
    """A column that shows a moment by its distance, or, if it is yet to come, by its day."""

    @admin.display(description=field.verbose_name, ordering=field.name, empty_value="–")
    def column(row: models.Model) -> Any:
        moment = getattr(row, field.name)
        if moment is None:
            return None
        return ago(moment) if moment <= timezone.now() else time_tag(moment)

    # By which the style sheet knows it.
    column.__name__ = field.name
    return column


class QuickAdmin(admin.ModelAdmin[Any]):
    """An admin for a table that may have a million rows."""

    paginator = CappedPaginator
    show_full_result_count = False
    list_per_page = 50
    # As on the pages; a field with choices has a form field of its own.
    formfield_overrides = {  # noqa: RUF012
        models.CharField: {"form_class": TextField},
        models.TextField: {"form_class": TextField},
    }
    # Lookups of our own links, besides those of the filters shown.
    linked_lookups: Sequence[str] = ()

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Whether a list's URL may filter by this: only as a filter shown or a link of ours does.

        Django allows any column of the table, which reveals a password's hash letter by letter.
        """
        filters = self.get_list_filter(request) if request else self.list_filter
        allowed = set(self.linked_lookups)
        for shown in filters:
            if isinstance(shown, type) and issubclass(shown, admin.SimpleListFilter):
                allowed.add(str(shown.parameter_name))
            else:
                name = str(shown[0] if isinstance(shown, list | tuple) else shown)
                allowed |= {name, f"{name}__exact", f"{name}__isnull"}
        return lookup in allowed

    @cached_property
    def moment_columns(self) -> dict[Any, Any]:
        """For each moment of a row, the column that shows it as the pages do."""
        moments = [field for field in self.opts.fields if isinstance(field, models.DateTimeField)]
        return {field.name: moment_column(field) for field in moments}

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return [self.moment_columns.get(name, name) for name in super().get_list_display(request)]

    def get_sortable_by(self, request: HttpRequest) -> list[Any]:
        names = self.list_display if self.sortable_by is None else self.sortable_by
        return [self.moment_columns.get(name, name) for name in names]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return CappedChangeList

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        AuditEntry.objects.record(request, self._audit_name("add"), obj)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        entry = super().log_change(request, obj, message)
        AuditEntry.objects.record(request, self._audit_name("change"), obj, entry.get_change_message())
        return entry

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        for row in queryset:
            AuditEntry.objects.record(request, self._audit_name("delete"), row)
        return super().log_deletions(request, queryset)

    def _audit_name(self, verb: str) -> str:
        return f"{self.opts.model_name}.{verb}"

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet[Any], search_term: str
    ) -> tuple[models.QuerySet[Any], bool]:
        """Addresses and domain names are stored in lower case; PostgreSQL rejects NUL."""
        return super().get_search_results(request, queryset, search_term.lower().replace("\x00", ""))


@admin.register(AuditEntry)
class AuditAdmin(ReadOnly, QuickAdmin):
    """What was done to other people's data: to read, and to export as a file."""

    list_display = ("moment", "who", "action", "subject", "detail", "remote_address")
    # For the page of one entry, which otherwise leaves out fields that cannot be edited.
    fields = ("moment", "who", "action", "subject_type", "subject", "detail", "remote_address")
    readonly_fields = fields
    search_fields = ("actor_name__istartswith", "subject__istartswith", "action__istartswith")
    search_help_text = _("The start of who, what, or to what.")
    list_filter = ("subject_type",)
    ordering = ("-moment", "-pk")
    sortable_by = ("moment",)
    actions = ("export",)

    @admin.display(description=_("who"))
    def who(self, entry: AuditEntry) -> str:
        """The actor's address; commands have none."""
        return entry.actor_name or gettext("the command line")

    @admin.action(description=_("Export as CSV"))
    def export(self, request: HttpRequest, queryset: models.QuerySet[AuditEntry]) -> StreamingHttpResponse:
        names = [
            field.name for field in AuditEntry._meta.concrete_fields if field.name not in {"id", "actor"}
        ]
        rows = queryset.order_by("moment", "pk").values_list(*names).iterator()
        return csv_download(csv_lines(names, rows), "audit.csv")


def apply_to_each(
    model_admin: QuickAdmin,
    request: HttpRequest,
    rows: models.QuerySet[Row],
    act: Callable[[Row], object],
    done: str,
) -> None:
    """Run `act` on each row, in one transaction; show how many succeeded, and each refusal once.

    `done` is a sentence with `%(count)s`. Does nothing if there are more than ACTION_MAX rows.
    """
    found = list(rows[: ACTION_MAX + 1])
    if len(found) > ACTION_MAX:
        sentence = gettext("Nothing was changed: at most %(max)s rows at once. Narrow the list first.")
        model_admin.message_user(request, sentence % {"max": f"{ACTION_MAX:,}"}, messages.ERROR)
        return
    count, refusals = 0, set()
    with transaction.atomic():
        for row in found:
            # `act` may delete the row and its key.
            key = row.pk
            try:
                act(row)
            except RuleError as error:
                refusals.add(str(error))
            else:
                count += 1
                row.pk = key
                AuditEntry.objects.record(
                    request, f"{row._meta.model_name}.{request.POST.get('action', '')}", row
                )
    if count:
        model_admin.message_user(request, done % {"count": count}, messages.SUCCESS)
    for refusal in sorted(refusals):
        model_admin.message_user(request, refusal, messages.ERROR)
