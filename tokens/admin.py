from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from core.admin import QuickAdmin, apply_to_each
from tokens.models import Token


@admin.register(Token)
class TokenAdmin(QuickAdmin):
    """Tokens, read-only and to revoke. The digest is never shown."""

    list_display = ("name", "owner", "rights", "created", "last_used", "expires", "is_live")
    list_select_related = ("owner",)
    search_fields = ("owner__email__startswith",)
    search_help_text = _("The start of the owner's address.")
    fields = readonly_fields = (
        "name",
        "owner",
        "rights",
        "by_password",
        "created",
        "last_used",
        "expires",
        "networks",
    )
    ordering = ("-pk",)
    actions = ("revoke",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """False: only its owner may know a token."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def delete_model(self, request: HttpRequest, obj: Token) -> None:
        obj.revoke()

    def get_actions(self, request: HttpRequest) -> Any:
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions

    @admin.display(description=_("rights"), ordering="scopes")
    def rights(self, token: Token) -> str:
        return ", ".join(token.rights.labels)

    @admin.display(description=_("works"), boolean=True)
    def is_live(self, token: Token) -> bool:
        return token.is_live

    @admin.action(description=_("Revoke"), permissions=["delete"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Token]) -> None:
        apply_to_each(self, request, queryset, Token.revoke, gettext("%(count)s revoked."))
