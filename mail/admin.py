"""Mail faults, for the administrators to read."""

from django.contrib import admin

from core.admin import QuickAdmin, ReadOnly
from mail.models import SiteFault


@admin.register(SiteFault)
class SiteFaultAdmin(ReadOnly, QuickAdmin):
    """Faults cannot be edited: each is deleted some time after it was last seen."""

    list_display = ("what", "first", "last", "told_at")
    fields = list_display
    readonly_fields = fields
    ordering = ("-last",)
