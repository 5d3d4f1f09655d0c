"""Signing in with an app: an e-mail address and a password, perhaps a code, for a token.

SimpleLogin and addy.io have the same two paths for it, with other words. What a client calls the address
(`email`, or `username`) or the code (`mfa_token`, or `otp`) tells in which words it is answered.
"""

from datetime import timedelta
from functools import partial
from typing import Any, ClassVar, NotRequired, TypedDict

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
from drf_spectacular.utils import OpenApiResponse
from rest_framework.fields import empty
from rest_framework.request import Request

from accounts.local_passwords import has_password_form
from accounts.models import User
from accounts.sign_ins import tell_of_sign_in
from aliases.validation import clean_name, clean_text
from api.addy.inputs import ChoiceField
from api.addy.inputs import Input as AddyInput
from api.addy.objects import stamp, stamp_or_null
from api.answers import Answer
from api.errors import BadInput, NeedSudo, NotOffered
from api.inputs import Input, TextField
from api.schema import SENTENCES, Call, shown_refusal
from api.views import ApiView, SignInView
from core.addresses import AddressError, normalise_address
from core.converters import KEY_DIGITS_MAX
from core.exceptions import RateLimited, RuleError
from core.secret_keys import secret_keys
from tokens.models import Token
from tokens.scopes import ANY_TOKEN, EVERY_CALL

# Seconds within which the second factor follows the password.
MFA_VALID = 300
# Seconds after which somebody may try again: allauth's limits are for minutes.
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


class AddySignIn(AddyInput):
    expiration = ChoiceField(*LIFETIMES)


class NotActivated(RuleError, code="not_activated", status=422):
    """The address of the account is not verified yet."""


class WrongCredentials(BadInput, code="wrong_credentials"):
    """The address and password, or the code, are wrong: 400 for SimpleLogin's clients, 401 for addy.io's."""

    def __init__(self, message: object, *, to_addy: bool) -> None:
        super().__init__(message)
        self.status = 401 if to_addy else 400


class CodeNeeded(RuleError, code="code_needed", status=422):
    """The password is right and a code must follow, as addy.io says it."""

    def __init__(self, key: str) -> None:
        super().__init__(gettext("Enter the code of your authenticator app."))
        # Without the last one addy.io's clients take the answer for an error; it does nothing.
        self.fields = {"mfa_key": key, "csrf_token": "none"}


class SignedInToAddy(TypedDict):
    """What addy.io's apps read of a new token."""

    name: str
    api_key: str
    created_at: str
    expires_at: str | None


class SignedIn(TypedDict):
    """What SimpleLogin's apps read of it."""

    name: str
    email: str
    api_key: str | None


class PasswordAccepted(SignedIn):
    """The same after the first step: `mfa_key` instead of a token if a code must follow."""

    mfa_enabled: bool
    mfa_key: str | None


class SimpleLoginError(TypedDict):
    error: str


class AddyError(TypedDict):
    message: str
    errors: NotRequired[dict[str, list[str]]]
    mfa_key: NotRequired[str]
    csrf_token: NotRequired[str]


def refusal(status: int) -> OpenApiResponse:
    """An error in either dialect, for the schema."""
    example = {"error": SENTENCES[status]}
    if status == 401:
        example = {"message": "Email or password incorrect"}
    return shown_refusal(status, SimpleLoginError | AddyError, example)


SignInCall = partial(Call, refuses=(401, 403, 422), refusal=refusal, needs_key=False)


class CleanTextField(TextField):
    """A text that the database can hold; "" if it is missing or null. Raises InvalidValue."""

    def run_validation(self, data: Any = empty) -> str:
        return super().run_validation(data) or ""

    def to_internal_value(self, data: Any) -> str:
        return clean_text(super().to_internal_value(data))


class CodeField(CleanTextField):
    """A code. simplelogincmd sends a number: the zeros before it are put back."""

    def to_internal_value(self, data: Any) -> str:
        if isinstance(data, int) and not isinstance(data, bool) and 0 <= data < 10**CODE_DIGITS:
            data = f"{data:0{CODE_DIGITS}}"
        return super().to_internal_value(data)


class SignInInput(Input):
    device = CleanTextField(initial="phone")
    device_name = CleanTextField()
    expiration = ChoiceField(*LIFETIMES)


class PasswordInput(SignInInput):
    email = CleanTextField(initial="alice@example.com")
    username = CleanTextField()
    password = CleanTextField(initial="…")


class CodeInput(SignInInput):
    mfa_token = CodeField(initial="123456")
    otp = CodeField()
    mfa_key = CleanTextField(initial="the one that /api/auth/login gave")


class PasswordView(SignInView):
    """A step of signing in with a password, in the words of either dialect."""

    # The fields that only addy.io's clients, and only SimpleLogin's, send in this step.
    addys_field: ClassVar[str]
    simplelogins_field: ClassVar[str]
    input: ClassVar[type[SignInInput]]

    @property
    def speaks_addy(self) -> bool:
        """Whether the client is one of addy.io's."""
        return self.addys_field in self.fields and self.simplelogins_field not in self.fields

    def read(self) -> dict[str, Any]:
        """The body's fields. Raises NotOffered if no password signs apps in."""
        if not (settings.API_PASSWORD_LOGIN and has_password_form()):
            raise NotOffered(
                gettext(
                    "Signing in with a password is off here. Make a token on the page Authentication tokens."
                )
            )
        lifetime = LIFETIMES.get(AddySignIn.read(self.fields)["expiration"]) if self.speaks_addy else None
        others = (
            {"device", self.simplelogins_field}
            if self.speaks_addy
            else {"device_name", "expiration", self.addys_field}
        )
        fields = {name: value for name, value in self.fields.items() if name not in others}
        data = self.input.read(fields) | {"lifetime": lifetime}
        data["device"] = clean_name(data["device_name" if self.speaks_addy else "device"][:DEVICE_MAX])
        return data

    def signed_in(self, user: User, data: dict[str, Any]) -> SignedInToAddy:
        """Make a token that ends as addy.io's client says, and inform its owner.

        An older one of the same device is revoked: nobody can read it any more. Raises OwnerChanged.
        """
        device = data["device"] or "app"
        name = gettext("%(device)s (signed in)") % {"device": device}
        expires = timezone.now() + data["lifetime"] if data["lifetime"] else None
        with transaction.atomic():
            token, secret = Token.objects.issue(
                owner=user, name=name, scopes=EVERY_CALL, expires=expires, by_password=True
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

    input = PasswordInput

    @SignInCall(
        "Sign in with a password, for a token",
        PasswordAccepted | SignedInToAddy,
        takes=PasswordInput,
        example={
            "name": "Alice",
            "email": "alice@example.com",
            "mfa_enabled": False,
            "mfa_key": None,
            "api_key": "…",
        },
    )
    def post(self, request: Request) -> Answer:
        data = self.read()
        email = data[self.addys_field if self.speaks_addy else self.simplelogins_field]
        # Even right passwords are limited, as on the page: checking one takes time and memory.
        if not ratelimit.consume(request._request, action="login"):
            raise too_often()
        user = self.user(request, email, data["password"])
        types = set(Authenticator.objects.filter(user=user).values_list("type", flat=True))
        has_code = Authenticator.Type.TOTP in types
        if types and not has_code:
            raise NotOffered(
                gettext("Your second factor works only in a browser. Create a token on the web page instead.")
            )
        key = _signer(user).sign(str(user.pk)) if has_code else None
        if self.speaks_addy:
            if key:
                raise CodeNeeded(key)
            return Answer(self.signed_in(user, data))
        return Answer(
            {
                "name": user.name,
                "email": user.email,
                "mfa_enabled": has_code,
                "mfa_key": key,
                "api_key": None if has_code else self.signed_in(user, data)["api_key"],
            }
        )

    def user(self, request: Request, email: str, password: str) -> User:
        """The user with this address and password. Raises WrongCredentials, RateLimited, NotActivated."""
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

    input = CodeInput

    @SignInCall(
        "Sign in with the second factor's code, after the password",
        SignedIn | SignedInToAddy,
        takes=CodeInput,
        example={"name": "Alice", "email": "alice@example.com", "api_key": "…"},
    )
    def post(self, request: Request) -> Answer:
        data = self.read()
        user = self.user(data["mfa_key"])
        code = data[self.addys_field if self.speaks_addy else self.simplelogins_field]
        form: Any = BaseAuthenticateForm({"code": code}, user=user)
        if not form.is_valid():
            codes = {error.code for error in form.errors.as_data().get("code", [])}
            if "too_many_login_attempts" in codes or "rate_limited" in codes:
                raise too_often()
            raise WrongCredentials(gettext("Wrong TOTP Token"), to_addy=self.speaks_addy)
        made = self.signed_in(user, data)
        if self.speaks_addy:
            return Answer(made)
        return Answer({"name": user.name, "email": user.email, "api_key": made["api_key"]})

    def user(self, key: str) -> User:
        """The user whose password was right a moment ago and still is. Raises WrongCredentials."""
        number = key.partition(":")[0]
        is_key = number.isascii() and number.isdigit() and len(number) <= KEY_DIGITS_MAX
        user = User.objects.filter(pk=int(number), is_active=True).first() if is_key else None
        if user is None or not _is_signed(user, key):
            raise WrongCredentials(gettext("Invalid mfa_key: sign in again."), to_addy=self.speaks_addy)
        return user


class DeviceInput(Input):
    device = TextField(initial="phone")


class ApiKey(ApiView):
    """`POST /api/api_key`: without a key it is a 401 in JSON, which the browser extension asks for."""

    scope = ANY_TOKEN

    @Call("Create a token: refused", takes=DeviceInput, refuses=(440,))
    def post(self, request: Request) -> Answer:
        raise NeedSudo(
            gettext("Need sudo: a token cannot create another one. Create it on the web page instead.")
        )


def too_often() -> RateLimited:
    """Too many attempts to sign in."""
    return RateLimited(gettext("Too many attempts to sign in. Try again later."), retry_after=RETRY_AFTER)


def _signer(user: User, secret_key: str | None = None) -> TimestampSigner:
    """Signs for as long as the user's sessions would last: not beyond a new password."""
    return TimestampSigner(salt=f"aliases.api.mfa:{user._get_session_auth_hash(secret_key)}")


def _is_signed(user: User, key: str) -> bool:
    """Whether we gave this key to the user, not too long ago."""
    for secret_key in secret_keys():
        try:
            _signer(user, secret_key).unsign(key, max_age=timedelta(seconds=MFA_VALID))
        except BadSignature:
            continue
        return True
    return False
