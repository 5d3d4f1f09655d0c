"""The sign-in app's forms, with our rule about own addresses."""

import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from allauth.account import forms
from allauth.account.adapter import get_adapter
from allauth.account.models import EmailAddress
from allauth.core import context
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.core.ratelimit import respond_429
from django import forms as django_forms
from django.contrib.auth.hashers import make_password
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from accounts.models.own_addresses import check_available, clean_email
from accounts.strangers import send_new_password_link, sign_up
from core.addresses import address_or_none
from core.after_answer import do_after_answer


class LoginForm(forms.LoginForm):  # type: ignore[misc]
    """Signs in with an address in any form: any case, the domain as U-labels or A-labels."""

    def clean_login(self) -> str:
        login: str = super().clean_login()
        # An invalid address is answered like a wrong password.
        return address_or_none(login) or login


# Base 36, and hexadecimal digits (django.contrib.auth.tokens).
_MAILED_KEY = re.compile("[0-9a-z]{1,13}-[0-9a-f]{1,64}")


def do_after_answer_or_refuse(act: Callable[[], object]) -> None:
    """Run `act` after the answer. If too many tasks wait already, the answer is to try again later."""
    if not do_after_answer(act):
        raise ImmediateHttpResponse(respond_429(context.request))


class ResetPasswordForm(forms.ResetPasswordForm):  # type: ignore[misc]
    """Has the link sent to the address that the account has, not to what was typed, if there is an account.

    The two may be different mailboxes: mail software reads “ß” in a domain as “ss”, we do not. Nobody is
    looked for before the answer: how long it takes would tell.
    """

    def clean_email(self) -> str:
        return clean_email(self.cleaned_data["email"])

    def save(self, request: HttpRequest, **kwargs: object) -> str:
        email: str = self.cleaned_data["email"]
        do_after_answer_or_refuse(partial(send_new_password_link, email))
        return email


class UserTokenForm(forms.UserTokenForm):  # type: ignore[misc]
    """Checks the key of a mailed link, with the same work whether the account in it exists."""

    def clean(self) -> dict[str, Any]:
        if not _MAILED_KEY.fullmatch(self.cleaned_data.get("key") or ""):
            raise get_adapter().validation_error("invalid_password_reset")
        data: dict[str, Any] = super().clean()
        return data

    def _get_user(self, uidb36: str) -> User | None:
        user: User | None = super()._get_user(uidb36)
        if user is None:
            # What the check reads of an account: whether its address is there, and all of them.
            EmailAddress.objects.filter(user=0, email="").exists()
            self.token_generator.check_token(User(pk=0), self.cleaned_data["key"])
        return user


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


class AddEmailForm(forms.AddEmailForm):  # type: ignore[misc]
    """A signed-in user adds an address to receive at; no alias, whose mail would go in circles."""

    def clean_email(self) -> str:
        email: str = super().clean_email()
        check_available(email, getattr(self, "user", None))
        return email


class SignupForm(forms.SignupForm):  # type: ignore[misc]
    """Somebody makes an account, where SIGNUP_OPEN lets them.

    The answer is the same whether the address is free, has an account or is an alias, and takes the same
    time: the password is hashed for all of them, and the rest is done after the answer.
    """

    def validate_unique_email(self, email: str) -> str:
        return email

    def try_save(self, request: HttpRequest) -> tuple[None, HttpResponse]:
        password_hash = make_password(self.cleaned_data["password1"])
        do_after_answer_or_refuse(partial(sign_up, self.cleaned_data["email"], password_hash))
        return None, get_adapter().respond_email_verification_sent(request, None)
