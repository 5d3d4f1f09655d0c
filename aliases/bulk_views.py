"""Changing many aliases of the list at once: those selected, or all that were found."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext, ngettext
from django.views.decorators.http import require_POST

from aliases.filters import COUNTED_MAX, listed, mine, query_back
from aliases.models import Alias, AliasExpiry
from aliases.models.alias_queryset import restore_period
from core.batches import batches
from core.converters import KEY_DIGITS_MAX
from core.exceptions import RuleError

# Django takes as many fields of a form.
SELECTED_MAX = 1000
# Keys in one statement: SQLite takes at most 32,766 parameters unless built for more.
BATCH = 1000
# Session key: when the aliases were deleted whose deletion the list offers to undo.
UNDO = "undo_deletion"


def _enable(keys: list[int], _moment: datetime) -> None:
    Alias.objects.filter(pk__in=keys).update(enabled=True)
    AliasExpiry.objects.forget_ended(keys)


def _disable(keys: list[int], _moment: datetime) -> None:
    Alias.objects.disable_all(keys)


def _delete(keys: list[int], moment: datetime) -> None:
    Alias.objects.filter(pk__in=keys, deleted_at=None).update(deleted_at=moment)


CHANGES: dict[str, tuple[Callable[[list[int], datetime], None], Callable[[int], str]]] = {
    "enable": (
        _enable,
        lambda count: ngettext(
            "%(count)s alias receives mail again.", "%(count)s aliases receive mail again.", count
        ),
    ),
    "disable": (
        _disable,
        lambda count: ngettext(
            "%(count)s alias now refuses mail.", "%(count)s aliases now refuse mail.", count
        ),
    ),
    "delete": (_delete, lambda count: ""),
}


@require_POST
def alias_bulk(request: HttpRequest) -> HttpResponse:
    """Apply the same change to all selected aliases, or to all that the list's filters find."""
    change, sentence = CHANGES.get(request.POST.get("action", ""), (None, None))
    shown = request.POST.get("all", "")
    chosen = listed(request) if shown else mine(request).present().filter(pk__in=selected_keys(request))
    keys = list(chosen.order_by().values_list("pk", flat=True))
    if shown and shown != str(min(len(keys), COUNTED_MAX + 1)):
        messages.warning(
            request, gettext("The list has changed meanwhile, so nothing was done. Look at it again.")
        )
    elif change is None or sentence is None or not keys:
        messages.warning(request, gettext("Select aliases first, then choose what to do with them."))
    else:
        moment = timezone.now()
        with transaction.atomic():
            for batch in batches(keys, BATCH):
                change(list(batch), moment)
        if change is _delete:
            request.session[UNDO] = moment.isoformat()
        else:
            messages.success(request, sentence(len(keys)) % {"count": f"{len(keys):,}"})
    return back_to_list(request)


def selected_keys(request: HttpRequest) -> list[int]:
    """The ids of the selected rows, without invalid ones."""
    keys = request.POST.getlist("selected")[:SELECTED_MAX]
    return [int(key) for key in keys if key.isascii() and key.isdigit() and len(key) <= KEY_DIGITS_MAX]


def back_to_list(request: HttpRequest) -> HttpResponse:
    """Redirect to the list with its filters. Only a query string is taken from the form, never a URL."""
    query = query_back(request).urlencode()
    return redirect(reverse("alias-list") + (f"?{query}" if query else ""))


def offer_undo(request: HttpRequest, alias: Alias) -> None:
    """Have the list offer to undo the deletion of this alias."""
    request.session[UNDO] = alias.deleted_at.isoformat() if alias.deleted_at else ""


def undo_offered(request: HttpRequest) -> dict[str, Any] | None:
    """The deletion that the list offers to undo, once: its moment, and how many aliases it deleted."""
    moment = request.session.pop(UNDO, "")
    count = deleted_at(request, moment).count() if moment else 0
    return {"moment": moment, "count": count} if count else None


def deleted_at(request: HttpRequest, moment: str) -> Any:
    """The reader's aliases that were deleted together at this moment."""
    try:
        parsed = parse_datetime(moment)
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is None:
        return Alias.objects.none()
    return mine(request).deleted().filter(deleted_at=parsed)


@require_POST
def alias_undo(request: HttpRequest) -> HttpResponse:
    """Restore the aliases that were deleted together."""
    deleted = deleted_at(request, request.POST.get("moment", "")[:50])
    restored = 0
    with transaction.atomic():
        # Where no quota is to be kept, in one statement.
        still = deleted.filter(domain__alias_quota=None, deleted_at__gt=timezone.now() - restore_period())
        for batch in batches(list(still.values_list("pk", flat=True)), BATCH):
            restored += Alias.objects.filter(pk__in=batch).update(deleted_at=None)
        for alias in deleted:
            try:
                alias.restore()
            except RuleError as error:
                messages.error(request, str(error))
                break
            restored += 1
    if restored:
        sentence = ngettext(
            "%(count)s alias has been restored.", "%(count)s aliases have been restored.", restored
        )
        messages.success(request, sentence % {"count": f"{restored:,}"})
    return back_to_list(request)
