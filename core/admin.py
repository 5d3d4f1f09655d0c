"""What our admin pages share: lists that never count a whole table, and refusals as messages."""

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, TypeVar

from django.contrib import admin, messages
from django.core.paginator import Paginator
from django.db import models
from django.http import HttpRequest

from core.refusals import RuleError

COUNT_MAX = 10_000

Row = TypeVar("Row", bound=models.Model)


class CappedPaginator(Paginator[Any]):
    """Counts no further than COUNT_MAX: a list's last page is the last of these, search reaches the rest."""

    @cached_property
    def count(self) -> int:
        rows = self.object_list
        if isinstance(rows, models.QuerySet):
            return rows.order_by()[:COUNT_MAX].count()
        return len(rows)


class QuickAdmin(admin.ModelAdmin[Any]):
    """An admin for a table that may have a million rows."""

    paginator = CappedPaginator
    show_full_result_count = False
    list_per_page = 50


def apply_to_each(
    model_admin: QuickAdmin,
    request: HttpRequest,
    rows: Iterable[Row],
    deed: Callable[[Row], object],
    done: str,
) -> None:
    """Do `deed` to each row; tell how many were done, and each refusal once.

    `done` is a sentence with `%(count)s`.
    """
    count, refusals = 0, set()
    for row in rows:
        try:
            deed(row)
        except RuleError as error:
            refusals.add(str(error))
        else:
            count += 1
    if count:
        model_admin.message_user(request, done % {"count": count}, messages.SUCCESS)
    for refusal in sorted(refusals):
        model_admin.message_user(request, refusal, messages.ERROR)
