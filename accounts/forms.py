"""The sign-in app's forms, with our rule about own addresses."""

from allauth.account import forms
from allauth.account.adapter import get_adapter

from accounts.addresses import AddressError, normalise_address
from accounts.lookups import user_by_email


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
    """Sends the link to the primary address of the account, not to what was typed.

    The two may be different mailboxes: mail software reads “ß” in a domain as “ss”, we do not. The
    package would send it to any verified address; those are destinations here.
    """

    def clean_email(self) -> str:
        email: str = get_adapter().clean_email(self.cleaned_data["email"])
        user = user_by_email(email)
        self.users = [user] if user and user.is_active else []
        return email


class OwnAddressMixin:
    """Refuses an alias as somebody's own address: its mail would go in circles."""

    def clean_email(self) -> str:
        email: str = super().clean_email()  # type: ignore[misc]
        get_adapter().check_own_address(email, getattr(self, "user", None))
        return email


class AddEmailForm(OwnAddressMixin, forms.AddEmailForm):  # type: ignore[misc]
    """A signed-in user adds an address to receive at."""


class SignupForm(OwnAddressMixin, forms.SignupForm):  # type: ignore[misc]
    """Somebody makes an account, where SIGNUP_OPEN lets them."""
