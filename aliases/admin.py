from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from aliases import exceptions as refusals
from aliases.issuing import issue
from aliases.models import Alias, AliasQuerySet, NameSpace
from aliases.spaces import give, switch
from core.addresses import address_or_none, domain_or_none
from core.admin import QuickAdmin, apply_to_each
from core.exceptions import RuleError
from domains.models import Domain

# At most this many domains in the filter, and this many owners for the start of an address.
DOMAIN_CHOICES_MAX = 100
OWNERS_MAX = 100


class StateFilter(admin.SimpleListFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("enabled", _("enabled")),
            ("disabled", _("disabled")),
            ("deleted", _("deleted, can be restored")),
            ("stripped", _("stripped, the address stays taken")),
        ]

    def queryset(self, request: HttpRequest, queryset: Any) -> QuerySet[Alias]:
        aliases: AliasQuerySet = queryset
        match self.value():
            case "enabled":
                return aliases.present().filter(enabled=True)
            case "disabled":
                return aliases.present().filter(enabled=False)
            case "deleted":
                return aliases.deleted()
            case "stripped":
                return aliases.stripped()
        return aliases


class DomainFilter(admin.SimpleListFilter):
    """Domains by name; if there are many, the links in the list of domains lead to the rest."""

    title = _("domain")
    parameter_name = "domain"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(domain.name, domain.display_name) for domain in Domain.objects.all()[:DOMAIN_CHOICES_MAX]]

    def queryset(self, request: HttpRequest, queryset: Any) -> QuerySet[Alias]:
        aliases: QuerySet[Alias] = queryset
        if self.value() is None:
            return aliases
        # By key, without a join: that index has the list's order.
        named = Domain.objects.filter(name=domain_or_none(str(self.value())))
        key = named.values_list("pk", flat=True).first()
        return aliases.filter(domain=key)


class NewAliasForm(forms.ModelForm[Alias]):
    """Creates an alias for a user, under that user's rights and limits."""

    class Meta:
        model = Alias
        fields = ("owner", "domain", "hostname", "note")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["owner"].required = True
        self.fields["domain"].required = False
        self.fields["domain"].help_text = _("Empty: the owner's default domain.")

    def _post_clean(self) -> None:
        """`issue` decides; the unfinished object is not validated otherwise."""
        if self.errors:
            return
        data = self.cleaned_data
        try:
            self.instance = issue(
                owner=data["owner"],
                domain=data["domain"].name if data["domain"] else None,
                hostname=data["hostname"],
                note=data["note"] or None,
            )
        except RuleError as error:
            self.add_error(None, str(error))


class AliasForm(forms.ModelForm[Alias]):
    """What may be changed on an alias; `edit` validates it."""

    class Meta:
        model = Alias
        fields = ("note", "name", "hostname", "pinned")

    def _post_clean(self) -> None:
        if self.errors:
            return
        try:
            self.instance.edit(**{name: self.cleaned_data[name] for name in self.changed_data})
        except RuleError as error:
            self.add_error(None, str(error))


@admin.register(Alias)
class AliasAdmin(QuickAdmin):
    list_display = ("address", "owner", "state", "hostname", "forwards", "blocks", "created")
    list_select_related = ("owner",)
    list_filter = (StateFilter, DomainFilter)
    # Any other order would sort the whole table.
    sortable_by = ("address",)
    search_fields = ("address",)
    search_help_text = _(
        "An alias's address or its start, its owner's address (at least up to the @), "
        "or the whole hostname of a website."
    )
    ordering = ("-pk",)
    actions = ("enable", "disable", "delete_aliases", "restore")
    autocomplete_fields = ("owner", "domain")
    readonly_fields = (
        "address",
        "owner",
        "domain",
        "destination_list",
        "enabled",
        "forwards",
        "blocks",
        "replies",
        "created",
        "last_activity",
        "deleted_at",
    )
    form = AliasForm

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        return super().get_form(
            request, obj, change, **kwargs, form=NewAliasForm if obj is None else AliasForm
        )

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        if obj is None:
            return NewAliasForm.Meta.fields
        return (*AliasForm.Meta.fields, *self.readonly_fields)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        if obj is None:
            return ()
        if obj.owner_id is None:
            return (*AliasForm.Meta.fields, *self.readonly_fields)
        return self.readonly_fields

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """False: an address is given out once, so rows stay. Deleting is an action."""
        return False

    def save_model(self, request: HttpRequest, obj: Alias, form: Any, change: bool) -> None:
        """Nothing: the form has saved it."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Nothing: there are no related forms."""

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Alias], search_term: str
    ) -> tuple[QuerySet[Alias], bool]:
        """The aliases that match; each kind of search uses one index.

        With an OR, the database would sort all matches before it shows the first page.
        """
        term = search_term.strip().lower().replace("\x00", "")
        if not term:
            return queryset, False
        if "@" in term:
            if found := Alias.objects.holding(term).values_list("pk", flat=True).first():
                return queryset.filter(pk=found), False
            people = User.objects.filter(email__prefix=address_or_none(term) or term).order_by("email")
            owners = list(people.values_list("pk", flat=True)[:OWNERS_MAX])
            if owners:
                return queryset.filter(owner__in=owners), False
        elif Alias.objects.filter(hostname=(host := domain_or_none(term) or term)).exists():
            return queryset.filter(hostname=host), False
        queryset = queryset.filter(address__prefix=term)
        return (queryset if "o" in request.GET else queryset.order_by("address")), False

    @admin.display(description=_("destinations"))
    def destination_list(self, alias: Alias) -> str:
        return ", ".join(address.email for address in alias.destination_addresses)

    @admin.display(description=_("last activity"))
    def last_activity(self, alias: Alias) -> Any:
        return alias.last_activity

    @admin.display(description=_("state"))
    def state(self, alias: Alias) -> str:
        if alias.owner_id is None:
            return gettext("stripped")
        if alias.is_deleted:
            return gettext("deleted")
        return gettext("enabled") if alias.enabled else gettext("disabled")

    def _each(self, request: HttpRequest, queryset: QuerySet[Alias], act: Any, done: str) -> None:
        def checked(alias: Alias) -> None:
            if alias.owner_id is None:
                raise refusals.NotRestorable(
                    gettext("A stripped alias has no owner any more and cannot be changed.")
                )
            act(alias)

        apply_to_each(self, request, queryset.select_related("owner", "domain"), checked, done)

    @admin.action(description=_("Enable"))
    def enable(self, request: HttpRequest, queryset: QuerySet[Alias]) -> None:
        self._each(request, queryset, Alias.enable, gettext("%(count)s enabled."))

    @admin.action(description=_("Disable: mail is refused from the next message on"))
    def disable(self, request: HttpRequest, queryset: QuerySet[Alias]) -> None:
        self._each(request, queryset, Alias.disable, gettext("%(count)s disabled."))

    @admin.action(description=_("Delete: can be restored for some time"))
    def delete_aliases(self, request: HttpRequest, queryset: QuerySet[Alias]) -> None:
        self._each(request, queryset, Alias.soft_delete, gettext("%(count)s deleted."))

    @admin.action(description=_("Restore"))
    def restore(self, request: HttpRequest, queryset: QuerySet[Alias]) -> None:
        self._each(request, queryset, Alias.restore, gettext("%(count)s restored."))


class NameSpaceForm(forms.ModelForm[NameSpace]):
    """Gives somebody a name space; `give` decides."""

    class Meta:
        model = NameSpace
        fields = ("domain", "suffix", "owner")

    def _post_clean(self) -> None:
        if self.errors or self.instance.pk:
            return
        try:
            self.instance = give(**self.cleaned_data)
        except RuleError as error:
            self.add_error(None, str(error))


@admin.register(NameSpace)
class NameSpaceAdmin(QuickAdmin):
    """Who has which names. What their owners want of them, the key word above all, is their own."""

    list_display = ("domain", "suffix", "owner", "enabled", "is_paused", "per_day", "created")
    list_select_related = ("domain", "owner")
    list_filter = ("enabled",)
    search_fields = ("domain__name", "suffix", "owner__email__startswith")
    autocomplete_fields = ("domain", "owner")
    readonly_fields = ("enabled", "is_paused", "per_day", "created")
    ordering = ("-pk",)
    actions = ("switch_off",)
    form = NameSpaceForm

    def get_queryset(self, request: HttpRequest) -> QuerySet[NameSpace]:
        return NameSpace.objects.noting_pauses()

    @admin.display(description=_("paused"), boolean=True)
    def is_paused(self, space: Any) -> bool:
        return bool(space.is_paused)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return NameSpaceForm.Meta.fields + (() if obj is None else self.readonly_fields)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """False: names are given or taken back, never passed on."""
        return False

    def save_model(self, request: HttpRequest, obj: NameSpace, form: Any, change: bool) -> None:
        """Nothing: the form has saved it."""

    @admin.action(description=_("Switch off: from the next message on"))
    def switch_off(self, request: HttpRequest, queryset: QuerySet[NameSpace]) -> None:
        apply_to_each(
            self, request, queryset, lambda space: switch(space, False), gettext("%(count)s switched off.")
        )
