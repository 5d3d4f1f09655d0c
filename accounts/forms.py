"""The sign-in app's forms, with our rule about own addresses."""

from typing import TYPE_CHECKING, Any

from allauth.account import forms
from allauth.account.adapter import get_adapter
from django import forms as django_forms
from django.utils.translation import gettext_lazy as _

from accounts.addresses import AddressError, normalise_address
from accounts.models import User


class LoginForm(forms.LoginForm):  # type: ignore[misc]
    """Signs in with an address in any form: any case, the domain as U-labels or A-labels."""

    def clean_login(self) -> str:
        login: str = super().clean_login()
        try:
            return normalise_address(login)
        except AddressError:
            # It is nobody's; the answer is the one for a wrong password.
            return login


class ResetPasswordForm(forms.ResetPasswordForm):  # type: ignore[misc]
    """Sends the link to the address that the account has, not to what was typed.

    The two may be different mailboxes: mail software reads “ß” in a domain as “ss”, we do not.
    """

    def clean_email(self) -> str:
        email: str = get_adapter().clean_email(super().clean_email())
        return email


class EndTokensMixin:
    """A new password, with the offer to end what was made under the old one.

    Sessions, and tokens that apps got for the old password, end in any case. Whoever chooses a first
    password is not asked.
    """

    if TYPE_CHECKING:
        user: User
        fields: dict[str, Any]
        cleaned_data: dict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.user and self.user.has_usable_password():
            self.fields["end_tokens"] = django_forms.BooleanField(
                label=_("End all my tokens"),
                initial=True,
                required=False,
                help_text=_(
                    "Password managers, apps and scripts then need a new token. Apps that signed in with "
                    "the old password must sign in again in any case."
                ),
            )

    def save(self) -> None:
        self.user.change_password(
            self.cleaned_data["password1"], end_tokens=self.cleaned_data.get("end_tokens", False)
        )


class ChangePasswordForm(EndTokensMixin, forms.ChangePasswordForm):  # type: ignore[misc]
    """Somebody who is signed in, and knows the old password, chooses a new one."""


class SetPasswordForm(EndTokensMixin, forms.SetPasswordForm):  # type: ignore[misc]
    """Somebody who signs in without a password chooses one."""


class ResetPasswordKeyForm(EndTokensMixin, forms.ResetPasswordKeyForm):  # type: ignore[misc]
    """Somebody who followed a mailed link chooses a password."""


class OwnAddressMixin:
    """Refuses an alias as somebody's own address: its mail would go in circles."""

    def clean_email(self) -> str:
        email: str = super().clean_email()  # type: ignore[misc]
        get_adapter().check_own_address(email)
        return email


class AddEmailForm(OwnAddressMixin, forms.AddEmailForm):  # type: ignore[misc]
    """A signed-in user adds an address to receive at."""


class SignupForm(OwnAddressMixin, forms.SignupForm):  # type: ignore[misc]
    """Somebody makes an account, where SIGNUP_OPEN lets them."""
