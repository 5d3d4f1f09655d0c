"""Mail faults and failed deliveries, for the administrators to read."""

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from core.addresses import address_or_none
from core.admin import QuickAdmin, ReadOnly, apply_to_each
from mail.encryption.keys import remove_key
from mail.models import DestinationKey, FailedDelivery, SiteFault


@admin.register(SiteFault)
class SiteFaultAdmin(ReadOnly, QuickAdmin):
    """Faults cannot be edited: each is deleted some time after it was last seen."""

    list_display = ("what", "first", "last", "told_at")
    fields = list_display
    readonly_fields = fields
    ordering = ("-last",)


@admin.register(DestinationKey)
class DestinationKeyAdmin(ReadOnly, QuickAdmin):
    """Which destinations have a key, by its fingerprint. Only their owners give them one."""

    list_display = ("destination", "shown_fingerprint", "expires_at", "is_used")
    list_select_related = ("destination__user",)
    fields = (
        "destination",
        "shown_fingerprint",
        "expires_at",
        "is_used",
        "hides_subject",
        "otherwise",
        "since",
    )
    readonly_fields = fields
    sortable_by = ()
    search_fields = ("fingerprint",)
    search_help_text = _("The whole address of a destination, or a fingerprint.")
    ordering = ("-since",)
    actions = ("remove",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[DestinationKey]:
        rows: QuerySet[DestinationKey] = super().get_queryset(request)
        return rows.defer("certificate")

    @admin.display(description=_("fingerprint"))
    def shown_fingerprint(self, key: DestinationKey) -> str:
        return key.shown_fingerprint

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[DestinationKey], search_term: str
    ) -> tuple[QuerySet[DestinationKey], bool]:
        term = search_term.strip().lower().replace("\x00", "")
        if not term:
            return queryset, False
        if address := address_or_none(term):
            return queryset.filter(destination__email=address), False
        return queryset.filter(fingerprint=term.replace(" ", "")), False

    @admin.action(description=_("Remove the key: mail is sent without encryption"), permissions=["view"])
    def remove(self, request: HttpRequest, queryset: QuerySet[DestinationKey]) -> None:
        rows = queryset.select_related("destination__user")
        done = gettext("Removed keys: %(count)s. Their owners have been told.")
        apply_to_each(self, request, rows, lambda key: remove_key(key.destination), done)


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
