from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.db.models import IntegerField, OuterRef, ProtectedError, QuerySet, Subquery
from django.forms import BaseInlineFormSet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from core.admin import COUNT_MAX, AtLeast, QuickAdmin
from domains.models import AccessGrant, Domain
from domains.models.dns_check import summary_of

# A form has at most 1,000 fields (DATA_UPLOAD_MAX_NUMBER_FIELDS) and a grant takes three of them.
INLINE_GRANTS_MAX = 100


class CountedRows(Subquery):
    """The number of rows of a correlated, sliced query: counting stops at the end of the slice."""

    template = "(SELECT COUNT(*) FROM (%(subquery)s) AS counted)"
    output_field = IntegerField()


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
        """False: a grant is given or revoked, never passed on."""
        return False


def _link_to_aliases(domain: Domain, number: int) -> str:
    url = reverse("admin:aliases_alias_changelist", query={"domain": domain.name})
    return format_html('<a href="{}">{}</a>', url, str(number))


@admin.register(Domain)
class DomainAdmin(QuickAdmin):
    list_display = (
        "domain_name",
        "anonmail_enabled",
        "audience",
        "is_shared",
        "manager_names",
        "dns_state",
        "alias_count",
    )
    list_editable = ("anonmail_enabled",)
    list_filter = ("anonmail_enabled", "audience", "is_shared")
    search_fields = ("name",)
    ordering = ("name",)
    autocomplete_fields = ("managers",)
    readonly_fields = ("created", "exact_alias_count", "grant_list")
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
        "exact_alias_count",
        "grant_list",
    )
    inlines = (GrantInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Domain]:
        """The domains with their number of aliases, counted up to COUNT_MAX."""
        # Through the relation, since this app does not know aliases. A join would not use the index.
        aliases: Any = Domain._meta.get_field("aliases").related_model
        same_domain = aliases._base_manager.filter(domain=OuterRef("pk")).values("domain_id")
        counted = CountedRows(same_domain[:COUNT_MAX])
        domains: QuerySet[Domain] = super().get_queryset(request)
        return (
            domains.annotate(number_of_aliases=counted)
            .select_related("dns_check")
            .prefetch_related("managers")
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Domain | None = None) -> Any:
        """Aliases contain their domain's name, so it cannot change once there are any."""
        if obj is not None and obj.aliases.exists():
            return (*self.readonly_fields, "name")
        return self.readonly_fields

    def get_inlines(self, request: HttpRequest, obj: Domain | None) -> Any:
        """The grants, if a form can hold them; otherwise they have their own list."""
        many = obj is not None and obj.grants.order_by()[: INLINE_GRANTS_MAX + 1].count() > INLINE_GRANTS_MAX
        return () if many else self.inlines

    def get_actions(self, request: HttpRequest) -> Any:
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Refuse to delete a domain with aliases, and say why: their addresses stay taken."""
        domain = self.get_object(request, unquote(object_id))
        if domain is not None and domain.aliases.exists():
            return self._refuse_to_delete(request, domain)
        try:
            return super().delete_view(request, object_id, extra_context)
        except ProtectedError:
            return self._refuse_to_delete(request, domain)

    def _refuse_to_delete(self, request: HttpRequest, domain: Any) -> HttpResponse:
        sentence = gettext(
            "%(domain)s has aliases, and their addresses stay taken: it cannot be deleted. Turn off its "
            "Anonymous Email Service instead."
        )
        self.message_user(request, sentence % {"domain": domain}, messages.ERROR)
        return redirect("admin:domains_domain_change", domain.pk)

    def save_model(self, request: HttpRequest, obj: Domain, form: Any, change: bool) -> None:
        """Save only what was changed: somebody else may use the toggle at the same time."""
        if not change:
            super().save_model(request, obj, form, change)
            return
        plain = [name for name in form.changed_data if name not in ("anonmail_enabled", "managers")]
        if plain:
            obj.save(update_fields=plain)
        if "anonmail_enabled" in form.changed_data:
            obj.set_anonmail(obj.anonmail_enabled)

    def response_add(
        self, request: HttpRequest, obj: Domain, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Say that nobody can use a domain whose service is off, and lead to the switch."""
        if not obj.anonmail_enabled:
            sentence = gettext(
                "The Anonymous Email Service of %(domain)s is off: nobody can create aliases there yet."
            )
            switch = reverse("admin:domains_domain_change", args=[obj.pk]) + "#id_anonmail_enabled"
            said = format_html(
                '{} <a href="{}">{}</a>', sentence % {"domain": obj}, switch, gettext("Turn it on")
            )
            self.message_user(request, said, messages.WARNING)
        return super().response_add(request, obj, post_url_continue)

    def save_formset(
        self, request: HttpRequest, form: Any, formset: BaseInlineFormSet[Any, Any, Any], change: bool
    ) -> None:
        """Grant and revoke through the model, which records who granted."""
        formset.save(commit=False)
        domain = form.instance
        for grant in formset.deleted_objects:
            domain.revoke(grant.user)
        for grant in formset.new_objects:
            domain.grant(grant.user, granted_by=request.user)

    @admin.display(description=_("name"), ordering="name")
    def domain_name(self, domain: Domain) -> str:
        return domain.display_name

    @admin.display(description=_("managers"))
    def manager_names(self, domain: Domain) -> str:
        return ", ".join(manager.email for manager in domain.managers.all())

    @admin.display(description=_("DNS"))
    def dns_state(self, domain: Domain) -> str:
        return format_html(
            '<a href="{}">{}</a>', reverse("domain-dns", args=[domain.name]), summary_of(domain)
        )

    @admin.display(description=_("aliases"), ordering="number_of_aliases")
    def alias_count(self, domain: Any) -> str:
        number = domain.number_of_aliases
        return _link_to_aliases(domain, AtLeast(number) if number == COUNT_MAX else number)

    @admin.display(description=_("aliases"))
    def exact_alias_count(self, domain: Any) -> str:
        return _link_to_aliases(domain, domain.aliases.count()) if domain.pk else "0"

    @admin.display(description=_("access grants"))
    def grant_list(self, domain: Domain) -> str:
        if domain.pk is None:
            return "-"
        url = reverse("admin:domains_accessgrant_changelist", query={"domain__id__exact": domain.pk})
        return format_html('<a href="{}">{}</a>', url, gettext("All of them"))


@admin.register(AccessGrant)
class AccessGrantAdmin(QuickAdmin):
    list_display = ("domain", "user", "granted_by", "created")
    list_select_related = ("domain", "user", "granted_by")
    search_fields = ("user__email__startswith", "domain__name")
    linked_lookups = ("domain__id__exact",)
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

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[AccessGrant]) -> None:
        for grant in queryset.select_related("domain", "user"):
            grant.domain.revoke(grant.user)
