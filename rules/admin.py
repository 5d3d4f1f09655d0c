"""Whose rules there are, for the administrators to read: what they contain is for their owners alone."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from core.admin import QuickAdmin, ReadOnly
from rules.models import Rule


@admin.register(Rule)
class RuleAdmin(ReadOnly, QuickAdmin):
    """Counts, and what kinds of things are done."""

    list_display = ("id", "owner", "is_on", "condition_count", "blocks", "disables", "forwards", "applied")
    list_select_related = ("owner",)
    list_filter = ("is_on",)
    fields = (*list_display, "applied_at", "created", "changed")
    readonly_fields = fields
    ordering = ("-pk",)

    @admin.display(description=_("conditions"))
    def condition_count(self, rule: Rule) -> int:
        return len(rule.conditions)
