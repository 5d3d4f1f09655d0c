"""Contacts, for the administrators to read and to block."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from contacts.addresses import correspondent_address
from contacts.models import Contact
from core.addresses import AddressError
from core.admin import QuickAdmin, ReadOnly, apply_to_each


@admin.register(Contact)
class ContactAdmin(ReadOnly, QuickAdmin):
    """Who writes to which alias. The reverse address is for the alias's owner alone."""

    list_display = (
        "address",
        "alias",
        "blocked",
        "waiting",
        "forwards",
        "replies",
        "blocks",
        "last_forward_at",
        "last_reply_at",
    )
    list_select_related = ("alias",)
    list_filter = ("blocked", "waiting")
    fields = (*list_display, "name", "created")
    readonly_fields = fields
    sortable_by = ()
    search_fields = ("address",)
    search_help_text = _("The whole address of a correspondent or an alias.")
    ordering = ("-pk",)
    actions = ("block", "unblock")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Contact], search_term: str
    ) -> tuple[QuerySet[Contact], bool]:
        """Each of the two by its own index: what matches as an alias is one."""
        term = search_term.strip().replace("\x00", "")
        if not term:
            return queryset, False
        try:
            address = correspondent_address(term)
        except AddressError:
            return queryset.none(), False
        of_alias = queryset.filter(alias__address=address)
        return (of_alias if of_alias.exists() else queryset.filter(address=address)), False

    @admin.action(description=_("Block: mail is refused from the next message on"), permissions=["view"])
    def block(self, request: HttpRequest, queryset: QuerySet[Contact]) -> None:
        apply_to_each(self, request, queryset, Contact.block, gettext("%(count)s blocked."))

    @admin.action(description=_("Unblock"), permissions=["view"])
    def unblock(self, request: HttpRequest, queryset: QuerySet[Contact]) -> None:
        apply_to_each(self, request, queryset, Contact.unblock, gettext("%(count)s unblocked."))
