"""Signing in with an app: an e-mail address and a password, perhaps a code, for a token.

SimpleLogin and addy.io have the same two paths for it, with other words. What a client calls the address
(`email`, or `username`) or the code (`mfa_token`, or `otp`) tells in which words it is answered.
"""

from datetime import timedelta
from typing import Any, ClassVar

from allauth.account.adapter import get_adapter
from allauth.core import ratelimit
from allauth.mfa.base.forms import BaseAuthenticateForm
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.signing import BadSignature, TimestampSigner
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import User
from accounts.sign_ins import tell_of_sign_in
from aliases.validation import clean_name, clean_text
from api.addy.inputs import ChoiceField, Input
from api.addy.objects import stamp, stamp_or_null
from api.errors import BadInput, NeedSudo, NotOffered
from api.simplelogin.inputs import text_field
from api.views import ApiView, SignInView
from core.addresses import AddressError, normalise_address
from core.converters import KEY_DIGITS_MAX
from core.exceptions import RateLimited, RuleError
from tokens.models import Token
from tokens.scopes import ANY_TOKEN, EVERYTHING

# Seconds within which the second factor follows the password.
MFA_VALID = 300
# Seconds after which somebody who tried too often may try again: allauth's limits are for minutes.
RETRY_AFTER = 300
DEVICE_MAX = 80
# Of an authenticator app's code.
CODE_DIGITS = 6
# After how long addy.io's clients let their user sign in again, by their words; a month has 30 days here.
LIFETIMES = {
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
    "year": timedelta(days=365),
}


class AddySignIn(Input):
    expiration = ChoiceField(*LIFETIMES)


class NotActivated(RuleError):
    """The address of the account is not verified yet."""

    code = "not_activated"
    status = 422


class WrongCredentials(BadInput):
    """The address and password, or the code, do not fit: 400 to SimpleLogin's clients, 401 to addy.io's."""

    code = "wrong_credentials"

    def __init__(self, message: object, *, to_addy: bool) -> None:
        super().__init__(message)
        self.status = 401 if to_addy else 400


class CodeNeeded(RuleError):
    """The password is right, and a code must follow: addy.io's way to say so."""

    code = "code_needed"
    status = 422

    def __init__(self, key: str) -> None:
        super().__init__(gettext("Enter the code of your authenticator app."))
        # Without the last one addy.io's clients take the answer for an error; it does nothing.
        self.fields = {"mfa_key": key, "csrf_token": "none"}


class PasswordView(SignInView):
    """A step of signing in with a password, in the words of either dialect."""

    # The fields that only addy.io's clients, and only SimpleLogin's, send in this step.
    addys_field: ClassVar[str]
    simplelogins_field: ClassVar[str]

    @property
    def speaks_addy(self) -> bool:
        """Whether the client is one of addy.io's."""
        return self.addys_field in self.fields and self.simplelogins_field not in self.fields

    def check_offered(self) -> None:
        """Raise NotOffered where API_PASSWORD_LOGIN is off."""
        if not settings.API_PASSWORD_LOGIN:
            raise NotOffered(
                gettext(
                    "Signing in with a password is off here. Make a token on the page Authentication tokens."
                )
            )

    def text(self, name: str) -> str:
        """A text in the body; "" where it is missing. Raises BadInput, InvalidValue."""
        return clean_text(text_field(self.fields, name) or "")

    def device(self) -> str:
        """What the client calls itself, as it is stored. Raises as `text` does."""
        return clean_name(self.text("device_name" if self.speaks_addy else "device")[:DEVICE_MAX])

    def lifetime(self) -> timedelta | None:
        """How long the token is wanted for; None: for good. Raises Unprocessable."""
        if not self.speaks_addy:
            return None
        return LIFETIMES.get(AddySignIn.read(self.fields)["expiration"])

    def signed_in(self, user: User, device: str, lifetime: timedelta | None) -> dict[str, Any]:
        """Make a token, tell its owner, and return what an app of addy.io's reads; SimpleLogin's reads less.

        An older one of the same device is revoked: nobody can read it any more. Raises OwnerChanged.
        """
        device = device or "app"
        name = gettext("%(device)s (signed in)") % {"device": device}
        expires = timezone.now() + lifetime if lifetime else None
        with transaction.atomic():
            token, secret = Token.objects.issue(
                owner=user, name=name, scopes=EVERYTHING, expires=expires, by_password=True
            )
            older = Token.objects.owned_by(user).filter(name=name, by_password=True)
            older.exclude(pk=token.pk).delete()
        tell_of_sign_in(self.request._request, user, app=device)
        return {
            "api_key": secret,
            "name": token.name,
            "created_at": stamp(token.created),
            "expires_at": stamp_or_null(token.expires),
        }


class Login(PasswordView):
    """`POST /api/auth/login`: limited as the sign-in page is."""

    addys_field, simplelogins_field = "username", "email"

    def post(self, request: Request) -> Response:
        self.check_offered()
        email, password = self.text("username" if self.speaks_addy else "email"), self.text("password")
        device, lifetime = self.device(), self.lifetime()
        # Signing in rightly is limited on the page too: a password's check takes its time and memory.
        if not ratelimit.consume(request._request, action="login"):
            raise too_often()
        user = self.user(request, email, password)
        types = set(Authenticator.objects.filter(user=user).values_list("type", flat=True))
        has_code = Authenticator.Type.TOTP in types
        if types and not has_code:
            raise NotOffered(
                gettext("Your second factor works in a browser alone. Make a token on the web page instead.")
            )
        key = _signer(user).sign(str(user.pk)) if has_code else None
        if self.speaks_addy:
            if key:
                raise CodeNeeded(key)
            return Response(self.signed_in(user, device, lifetime))
        return Response(
            {
                "name": user.name,
                "email": user.email,
                "mfa_enabled": has_code,
                "mfa_key": key,
                "api_key": None if has_code else self.signed_in(user, device, None)["api_key"],
            }
        )

    def user(self, request: Request, email: str, password: str) -> User:
        """Who has this address and password. Raises WrongCredentials, RateLimited, NotActivated."""
        try:
            address = normalise_address(email)
        except AddressError:
            address = email[:400]
        try:
            user = get_adapter().authenticate(request._request, email=address, password=password)
        except ValidationError as error:
            raise too_often() from error
        if not isinstance(user, User) or not user.is_active:
            raise WrongCredentials(gettext("Email or password incorrect"), to_addy=self.speaks_addy)
        if not user.emailaddress_set.filter(verified=True, primary=True).exists():
            raise NotActivated(gettext("Account not activated: open the link in the mail first."))
        return user


class Mfa(PasswordView):
    """`POST /api/auth/mfa`: the code of an authenticator app, or a recovery code."""

    addys_field, simplelogins_field = "otp", "mfa_token"

    def post(self, request: Request) -> Response:
        self.check_offered()
        user, device, lifetime = self.user(self.text("mfa_key")), self.device(), self.lifetime()
        code = code_field(self.fields, "otp" if self.speaks_addy else "mfa_token")
        form: Any = BaseAuthenticateForm({"code": code}, user=user)
        if not form.is_valid():
            codes = {error.code for error in form.errors.as_data().get("code", [])}
            if "too_many_login_attempts" in codes or "rate_limited" in codes:
                raise too_often()
            raise WrongCredentials(gettext("Wrong TOTP Token"), to_addy=self.speaks_addy)
        made = self.signed_in(user, device, lifetime)
        if self.speaks_addy:
            return Response(made)
        return Response({"name": user.name, "email": user.email, "api_key": made["api_key"]})

    def user(self, key: str) -> User:
        """Whose password was right a moment ago, and still is. Raises WrongCredentials."""
        number = key.partition(":")[0]
        is_key = number.isascii() and number.isdigit() and len(number) <= KEY_DIGITS_MAX
        user = User.objects.filter(pk=int(number), is_active=True).first() if is_key else None
        try:
            if user is not None:
                _signer(user).unsign(key, max_age=timedelta(seconds=MFA_VALID))
                return user
        except BadSignature:
            pass
        raise WrongCredentials(gettext("Invalid mfa_key: sign in once more."), to_addy=self.speaks_addy)


def code_field(data: dict[str, Any], name: str) -> str:
    """The code in a body's field. simplelogincmd sends a number: the zeros before it are put back."""
    code = data.get(name)
    if isinstance(code, int) and not isinstance(code, bool) and 0 <= code < 10**CODE_DIGITS:
        return f"{code:0{CODE_DIGITS}}"
    return text_field(data, name) or ""


class ApiKey(ApiView):
    """`POST /api/api_key`: without a key it is a 401 in JSON, which the browser extension asks for."""

    scope = ANY_TOKEN

    def post(self, request: Request) -> Response:
        raise NeedSudo(gettext("Need sudo: a token makes no other token. Make one on the web page instead."))


def too_often() -> RateLimited:
    """Somebody has tried too often."""
    return RateLimited(gettext("Too many tries to sign in. Try again later."), retry_after=RETRY_AFTER)


def _signer(user: User) -> TimestampSigner:
    """Signs for as long as the user's sessions would last: not beyond a new password."""
    return TimestampSigner(salt=f"aliases.api.mfa:{user.get_session_auth_hash()}")
