"""The sign-in app's forms, with our rule about own addresses."""

from allauth.account import forms
from allauth.account.adapter import get_adapter


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
