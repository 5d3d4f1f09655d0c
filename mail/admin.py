"""Mail faults and failed deliveries, for the administrators to read."""

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from core.addresses import address_or_none
from core.admin import QuickAdmin, ReadOnly
from mail.models import FailedDelivery, SiteFault


@admin.register(SiteFault)
class SiteFaultAdmin(ReadOnly, QuickAdmin):
    """Faults cannot be edited: each is deleted some time after it was last seen."""

    list_display = ("what", "first", "last", "told_at")
    fields = list_display
    readonly_fields = fields
    ordering = ("-last",)


@admin.register(FailedDelivery)
class FailedDeliveryAdmin(ReadOnly, QuickAdmin):
    """What destinations refused. Who wrote, and the message, are for the alias's owner alone."""

    list_display = ("moment", "alias", "destination", "status", "reason")
    list_select_related = ("alias", "destination")
    fields = (*list_display, "explanation")
    readonly_fields = fields
    sortable_by = ()
    search_fields = ("status",)
    search_help_text = _("A status, as 5.1.1, or the whole address of an alias or a destination.")
    ordering = ("-pk",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[FailedDelivery], search_term: str
    ) -> tuple[QuerySet[FailedDelivery], bool]:
        term = search_term.strip().replace("\x00", "")
        if not term:
            return queryset, False
        if address := address_or_none(term):
            return queryset.filter(Q(alias__address=address) | Q(destination__email=address)), False
        return queryset.filter(status=term), False
