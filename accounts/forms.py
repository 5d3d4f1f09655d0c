"""allauth's forms, with our rules about addresses."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from allauth.account import forms
from allauth.account.adapter import get_adapter
from allauth.account.models import EmailAddress
from allauth.core import context
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.core.ratelimit import respond_429
from allauth.mfa.base import forms as code_forms
from allauth.mfa.totp import forms as totp_forms
from allauth.mfa.webauthn import forms as webauthn_forms
from django import forms as django_forms
from django.contrib.auth.hashers import make_password
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from accounts.local_passwords import takes_passwords
from accounts.models import User
from accounts.models.own_addresses import check_available, clean_email
from accounts.organisation.refusals import ArrivalRefused
from accounts.signed_out import send_new_password_link, sign_up
from core.addresses import address_or_none
from core.after_answer import do_after_answer

LABELS = {
    "login": _("E-mail address"),
    "email": _("E-mail address"),
    "password": _("Password"),
    "remember": _("Keep me signed in"),
    "oldpassword": _("Current password"),
    "password1": _("New password"),
    "password2": _("New password, again"),
    "code": _("Code"),
    "name": _("Name"),
    "passwordless": _("Sign in with this passkey alone"),
}


class OurWords:
    """An allauth form with this site's labels, and without placeholders that repeat them."""

    labels = LABELS
    fields: dict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            if name in self.labels:
                field.label = self.labels[name]
                field.widget.attrs.pop("placeholder", None)

    def add_error(self, field: str | None, error: Any) -> None:
        """Add an error. The only text without a code for a second password says that it differs."""
        if field == "password2" and not isinstance(error, django_forms.ValidationError):
            error = _("The two passwords differ.")
        super().add_error(field, error)  # type: ignore[misc]


@contextmanager
def saying_why() -> Iterator[None]:
    """Turn a refusal into a form's error: a directory knows somebody who gets no account."""
    try:
        yield
    except ArrivalRefused as error:
        raise django_forms.ValidationError(str(error), code=error.code) from error


class AnyPassword:
    """A form that checks a password of this site or of a directory."""

    fields: dict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not takes_passwords():
            # It says how to get a new one.
            self.fields["password"].help_text = ""


class LoginForm(OurWords, AnyPassword, forms.LoginForm):  # type: ignore[misc]
    """Signs in with an address in any form: any case, U-labels or A-labels."""

    def clean_login(self) -> str:
        login: str = super().clean_login()
        # An invalid address is answered like a wrong password.
        return address_or_none(login) or login

    def clean(self) -> Any:
        with saying_why():
            return super().clean()


# Base 36, and hexadecimal digits (django.contrib.auth.tokens).
_MAILED_KEY = re.compile("[0-9a-z]{1,13}-[0-9a-f]{1,64}")


def do_after_answer_or_refuse(act: Callable[[], object]) -> None:
    """Run `act` after the answer. If too many tasks wait already, the answer is to try again later."""
    if not do_after_answer(act):
        raise ImmediateHttpResponse(respond_429(context.request))


class ResetPasswordForm(OurWords, forms.ResetPasswordForm):  # type: ignore[misc]
    """Sends the link to the account's own address, if there is one, not to what was typed.

    They may be different mailboxes: some mail software reads “ß” in a domain as “ss”. The account is
    looked up only after the answer, whose timing would reveal it.
    """

    def clean_email(self) -> str:
        return clean_email(self.cleaned_data["email"])

    def save(self, request: HttpRequest, **kwargs: object) -> str:
        email: str = self.cleaned_data["email"]
        do_after_answer_or_refuse(partial(send_new_password_link, email))
        return email


class UserTokenForm(forms.UserTokenForm):  # type: ignore[misc]
    """Checks the key of a mailed link, taking equally long if its account does not exist."""

    def clean(self) -> dict[str, Any]:
        if not _MAILED_KEY.fullmatch(self.cleaned_data.get("key") or ""):
            raise get_adapter().validation_error("invalid_password_reset")
        data: dict[str, Any] = super().clean()
        return data

    def _get_user(self, uidb36: str) -> User | None:
        user: User | None = super()._get_user(uidb36)
        if user is None:
            # What the check reads for an account.
            EmailAddress.objects.filter(user=0, email="").exists()
            self.token_generator.check_token(User(pk=0), self.cleaned_data["key"])
        return user


class EndTokensMixin:
    """A new password, and the choice to end all tokens.

    Sessions, and tokens that apps got with the old password, end in any case. A first password comes
    without the choice.
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


class ChangePasswordForm(OurWords, EndTokensMixin, forms.ChangePasswordForm):  # type: ignore[misc]
    """Changes the password of a signed-in user who knows the old one."""


class SetPasswordForm(OurWords, EndTokensMixin, forms.SetPasswordForm):  # type: ignore[misc]
    """Sets the password of a signed-in user who has none."""


class ResetPasswordKeyForm(OurWords, EndTokensMixin, forms.ResetPasswordKeyForm):  # type: ignore[misc]
    """Sets the password of a user who followed a mailed link."""


class AddEmailForm(OurWords, forms.AddEmailForm):  # type: ignore[misc]
    """Adds an own address of a signed-in user; it must not be an alias."""

    def clean_email(self) -> str:
        email: str = super().clean_email()
        check_available(email, getattr(self, "user", None))
        return email


class SignupForm(OurWords, forms.SignupForm):  # type: ignore[misc]
    """Creates an account, if SIGNUP_OPEN allows it.

    The answer and its timing are the same for an address that is free, has an account, or is an alias:
    the password is hashed in each case, and the rest happens after the answer.
    """

    labels = LABELS | {"password1": _("Password"), "password2": _("Password, again")}

    def validate_unique_email(self, email: str) -> str:
        return email

    def try_save(self, request: HttpRequest) -> tuple[None, HttpResponse]:
        password_hash = make_password(self.cleaned_data["password1"])
        do_after_answer_or_refuse(partial(sign_up, self.cleaned_data["email"], password_hash))
        return None, get_adapter().respond_email_verification_sent(request, None)


class ReauthenticateForm(OurWords, AnyPassword, forms.ReauthenticateForm):  # type: ignore[misc]
    """Asks for the password again."""

    def clean_password(self) -> Any:
        with saying_why():
            return super().clean_password()


class ReauthenticateCodeForm(OurWords, code_forms.ReauthenticateForm):  # type: ignore[misc]
    """Asks for a code again."""


class AuthenticateForm(OurWords, code_forms.AuthenticateForm):  # type: ignore[misc]
    """Asks for a code after the password."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["code"].help_text = _("From your authenticator app, or one of your recovery codes.")


class ActivateTOTPForm(OurWords, totp_forms.ActivateTOTPForm):  # type: ignore[misc]
    """Sets up an authenticator app."""


class AddWebAuthnForm(OurWords, webauthn_forms.AddWebAuthnForm):  # type: ignore[misc]
    """Adds a passkey."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["passwordless"].help_text = _(
            "Without e-mail address and password. Your phone, computer or key then asks for your finger, "
            "your face or a PIN."
        )


class EditWebAuthnForm(OurWords, webauthn_forms.EditWebAuthnForm):  # type: ignore[misc]
    """Renames a passkey."""
