"""Mail faults, for the administrators to read."""

from django.contrib import admin
from django.http import HttpRequest

from core.admin import QuickAdmin
from mail.models import SiteFault


@admin.register(SiteFault)
class SiteFaultAdmin(QuickAdmin):
    """Faults cannot be edited: each is deleted some time after it was last seen."""

    list_display = ("what", "first", "last", "told_at")
    fields = list_display
    readonly_fields = fields
    ordering = ("-last",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False
