from typing import Any

from django.contrib import admin
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.forms import BaseInlineFormSet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from core.admin import QuickAdmin
from domains.models import AccessGrant, Domain


class GrantInline(admin.TabularInline[AccessGrant, Domain]):
    model = AccessGrant
    fk_name = "domain"
    fields = ("user", "granted_by", "created")
    readonly_fields = ("granted_by", "created")
    autocomplete_fields = ("user",)
    extra = 0

    def get_queryset(self, request: HttpRequest) -> QuerySet[AccessGrant]:
        return super().get_queryset(request).select_related("user", "granted_by")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A grant is given or taken back, never turned into somebody else's."""
        return False


@admin.register(Domain)
class DomainAdmin(QuickAdmin):
    list_display = (
        "display_name",
        "anonmail_enabled",
        "audience",
        "is_shared",
        "manager_names",
        "alias_count",
    )
    list_editable = ("anonmail_enabled",)
    list_filter = ("anonmail_enabled", "audience", "is_shared")
    search_fields = ("name",)
    ordering = ("name",)
    autocomplete_fields = ("managers",)
    readonly_fields = ("created", "alias_count")
    fields = (
        "name",
        "anonmail_enabled",
        "audience",
        "is_shared",
        "minimum_style",
        "alias_quota",
        "managers",
        "comment",
        "created",
        "alias_count",
    )
    inlines = (GrantInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Domain]:
        """Domains with their number of aliases, counted for the rows of the page alone."""
        aliases = Domain.objects.filter(pk=OuterRef("pk")).values("pk").annotate(number=Count("aliases"))
        counted = Coalesce(Subquery(aliases.values("number"), output_field=IntegerField()), 0)
        domains: QuerySet[Domain] = super().get_queryset(request)
        return domains.annotate(number_of_aliases=counted).prefetch_related("managers")

    def get_readonly_fields(self, request: HttpRequest, obj: Domain | None = None) -> Any:
        """Aliases hold their domain's name: it stays once there are any."""
        if obj is not None and obj.aliases.exists():
            return (*self.readonly_fields, "name")
        return self.readonly_fields

    def has_delete_permission(self, request: HttpRequest, obj: Domain | None = None) -> bool:
        """A domain with aliases stays: their addresses stay taken."""
        return obj is not None and not obj.aliases.exists() and super().has_delete_permission(request, obj)

    def save_formset(
        self, request: HttpRequest, form: Any, formset: BaseInlineFormSet[Any, Any, Any], change: bool
    ) -> None:
        """Grants go through the verbs, which keep who gave them."""
        formset.save(commit=False)
        domain = form.instance
        for grant in formset.deleted_objects:
            domain.revoke(grant.user)
        for grant in formset.new_objects:
            domain.grant(grant.user, granted_by=request.user)

    @admin.display(description=_("managers"))
    def manager_names(self, domain: Domain) -> str:
        return ", ".join(manager.email for manager in domain.managers.all())

    @admin.display(description=_("aliases"), ordering="number_of_aliases")
    def alias_count(self, domain: Any) -> int:
        return int(getattr(domain, "number_of_aliases", 0))


@admin.register(AccessGrant)
class AccessGrantAdmin(QuickAdmin):
    list_display = ("domain", "user", "granted_by", "created")
    list_select_related = ("domain", "user", "granted_by")
    search_fields = ("user__email__startswith", "domain__name")
    autocomplete_fields = ("domain", "user")
    fields = ("domain", "user")
    ordering = ("-pk",)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: AccessGrant, form: Any, change: bool) -> None:
        granted = obj.domain.grant(obj.user, granted_by=request.user)  # type: ignore[arg-type]
        obj.__dict__.update(granted.__dict__)

    def delete_model(self, request: HttpRequest, obj: AccessGrant) -> None:
        obj.domain.revoke(obj.user)
