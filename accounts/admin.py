from typing import Any

from allauth.account.decorators import reauthentication_required
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.deletion import close_account
from accounts.local_passwords import takes_passwords
from accounts.models import Identity, LastAdmin, User
from accounts.models.own_addresses import clean_email
from accounts.password_links import send_password_link
from core.admin import QuickAdmin, ReadOnly, apply_to_each
from core.mails import note_on_delivery

# Accounts that are deleted at once.
ACCOUNTS_MAX = 100

# Their forms would break our rules or show secrets: addresses unchecked for aliases, the seed of a second
# factor, where a user signed in from.
for model in (Authenticator, EmailAddress, Group, UserSession):
    admin.site.unregister(model)


def check_not_yourself(request: HttpRequest, user: User) -> None:
    """Raise LastAdmin if this is the admin's own account: the last one could lock everybody out."""
    if user.pk == request.user.pk:
        raise LastAdmin(gettext("You cannot remove your own account's rights. Ask another global admin."))


class UserForm(forms.ModelForm[User]):
    """What may be changed on a user, as long as an active global admin is left."""

    class Meta:
        model = User
        fields = ("name", "is_active", "is_superuser")

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if not all(data.get(name, True) for name in ("is_active", "is_superuser")):
            try:
                self.instance.check_may_leave()
            except LastAdmin as error:
                raise forms.ValidationError(str(error), code=error.code) from error
        return data


class NewUserForm(forms.ModelForm[User]):
    """An address and a name; users choose their passwords themselves."""

    class Meta:
        model = User
        fields = ("email", "name")

    def clean_email(self) -> str:
        email = clean_email(self.cleaned_data["email"])
        User.objects.check_new_address(email)
        return email


class AddressInline(ReadOnly, admin.TabularInline[EmailAddress, User]):
    """The user's addresses, read-only: only the user adds and removes them."""

    model = EmailAddress
    fields = readonly_fields = ("email", "verified", "primary")
    verbose_name_plural = _("own addresses")


class IdentityInline(ReadOnly, admin.TabularInline[Identity, User]):
    """Where else the user signs in, read-only: only the user connects and disconnects."""

    model = Identity
    fields = readonly_fields = ("issuer", "subject", "gave_admin", "created", "last_used")


@admin.register(User)
class UserAdmin(QuickAdmin):
    form = UserForm
    list_display = ("email", "name", "is_active", "is_superuser", "date_joined", "last_login")
    list_filter = ("is_active", "is_superuser")
    search_fields = ("email__startswith", "name")
    search_help_text = _("The start of the address, or part of the name.")
    ordering = ("email",)
    fields = (
        "email",
        "name",
        "is_active",
        "is_superuser",
        "date_joined",
        "last_login",
        "credentials_valid_from",
    )
    readonly_fields = ("email", "date_joined", "last_login", "credentials_valid_from")
    inlines = (AddressInline, IdentityInline)
    actions = ("activate", "deactivate", "send_link", "delete_accounts")

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> type[forms.ModelForm[Any]]:
        if obj is None:
            return NewUserForm
        return super().get_form(request, obj, change, **kwargs)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return NewUserForm.Meta.fields if obj is None else self.fields

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ()
        if obj.pk == request.user.pk:
            return (*self.readonly_fields, "is_active", "is_superuser")
        return self.readonly_fields

    @method_decorator(reauthentication_required(allow_get=True))
    def changeform_view(self, *args: Any, **kwargs: Any) -> Any:
        """Creating and changing users needs a recent sign-in: a new global admin outlives any session."""
        return super().changeform_view(*args, **kwargs)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Without local passwords, there is no link for choosing one."""
        actions: dict[str, Any] = super().get_actions(request)
        if not takes_passwords():
            actions.pop("send_link", None)
        return actions

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        return self.inlines if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """False: the action “Delete the account for good” also strips the aliases."""
        return False

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        if not change:
            created = User.objects.create_user(obj.email, name=obj.name)
            # The admin continues with the object that it passed.
            obj.__dict__.update(created.__dict__)
            if takes_passwords():
                self._send_link(request, created)
            return
        plain = [name for name in form.changed_data if name != "is_active"]
        if plain:
            obj.save(update_fields=plain)
        if "is_active" in form.changed_data:
            (obj.activate if obj.is_active else obj.deactivate)()

    def _send_link(self, request: HttpRequest, user: User) -> None:
        try:
            send_password_link(user)
        except OSError:
            said = gettext(
                "The mail with the link could not be sent. Check EMAIL_URL, then send the link again."
            )
            self.message_user(request, said, messages.ERROR)
        else:
            said = " ".join([gettext("A link for choosing a password has been sent."), note_on_delivery()])
            self.message_user(request, said, messages.SUCCESS)

    @admin.action(description=_("Send the link for choosing a password"))
    def send_link(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for user in queryset:
            self._send_link(request, user)

    @admin.action(description=_("Activate"))
    def activate(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        apply_to_each(self, request, queryset, User.activate, gettext("%(count)s activated."))

    @admin.action(description=_("Deactivate: sessions and tokens end, mail to the aliases is refused"))
    def deactivate(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        def deactivate(user: User) -> None:
            check_not_yourself(request, user)
            user.check_may_leave()
            user.deactivate()

        apply_to_each(self, request, queryset, deactivate, gettext("%(count)s deactivated."))

    @admin.action(description=_("Delete the account for good: its aliases stop, their addresses stay taken"))
    def delete_accounts(self, request: HttpRequest, queryset: QuerySet[User]) -> HttpResponse | None:
        """Ask for confirmation, then delete the accounts."""
        if queryset.order_by()[: ACCOUNTS_MAX + 1].count() > ACCOUNTS_MAX:
            sentence = gettext("At most %(max)s accounts are deleted at once.") % {"max": ACCOUNTS_MAX}
            self.message_user(request, sentence, messages.ERROR)
            return None
        if request.POST.get("confirmed") != "yes":
            context = {
                **admin.site.each_context(request),
                "title": gettext("Delete these accounts for good?"),
                "users": queryset,
                "action": "delete_accounts",
                "opts": User._meta,
            }
            return TemplateResponse(request, "admin/accounts/user/delete_accounts.html", context)

        def delete(user: User) -> None:
            check_not_yourself(request, user)
            close_account(user)

        apply_to_each(self, request, queryset, delete, gettext("%(count)s deleted."))
        return None
