"""SimpleLogin's sign-in for apps: an e-mail address and a password, perhaps a code, for a token."""

from datetime import timedelta
from typing import Any

from allauth.account.adapter import get_adapter
from allauth.core import ratelimit
from allauth.mfa.base.forms import BaseAuthenticateForm
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.signing import BadSignature, TimestampSigner
from django.db import transaction
from django.utils.translation import gettext
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.addresses import AddressError, normalise_address
from accounts.models import User
from aliases.api.errors import BadInput, NotOffered
from aliases.api.fields import text_field
from aliases.api.views import ApiView
from aliases.cleaning import clean_name, clean_text
from core.converters import KEY_DIGITS_MAX
from core.refusals import RateLimited, RuleError
from tokens.models import Token
from tokens.scopes import ANY_TOKEN, EVERYTHING

# Seconds within which the second factor follows the password.
MFA_VALID = 300
# Seconds after which somebody who tried too often may try again: allauth's limits are for minutes.
RETRY_AFTER = 300
DEVICE_MAX = 80
# Of an authenticator app's code.
CODE_DIGITS = 6


class NotActivated(RuleError):
    """The address of the account is not verified yet."""

    code = "not_activated"
    status = 422


class NeedSudo(RuleError):
    """A token makes no token: SimpleLogin asks for the password once more."""

    code = "need_sudo"
    status = 440


class SignInView(ApiView):
    """A call that needs no key, and pays no attention to one."""

    scope = None

    authentication_classes = ()
    permission_classes = (AllowAny,)

    def token(self, user: User, device: str) -> str:
        """A new token's secret. An older one of the same device is revoked: nobody can read it any more.

        Raises OwnerChanged.
        """
        name = gettext("%(device)s (signed in)") % {"device": device or "app"}
        with transaction.atomic():
            token, secret = Token.objects.issue(owner=user, name=name, scopes=EVERYTHING, by_password=True)
            older = Token.objects.owned_by(user).filter(name=name, by_password=True)
            older.exclude(pk=token.pk).delete()
        return secret

    def text(self, name: str) -> str:
        """A text in the body; "" where it is missing. Raises BadInput, InvalidValue."""
        return clean_text(text_field(self.fields, name) or "")

    def device(self) -> str:
        """What the client calls itself, as it is stored. Raises as `text` does."""
        return clean_name(self.text("device")[:DEVICE_MAX])

    def check_offered(self) -> None:
        """Raise NotOffered where API_PASSWORD_LOGIN is off."""
        if not settings.API_PASSWORD_LOGIN:
            raise NotOffered(
                gettext(
                    "Signing in with a password is off here. Make a token on the page Authentication tokens."
                )
            )


class Login(SignInView):
    """`POST /api/auth/login`: limited as the sign-in page is."""

    def post(self, request: Request) -> Response:
        self.check_offered()
        email, password, device = self.text("email"), self.text("password"), self.device()
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
        return Response(
            {
                "name": user.name,
                "email": user.email,
                "mfa_enabled": has_code,
                "mfa_key": _signer(user).sign(str(user.pk)) if has_code else None,
                "api_key": None if has_code else self.token(user, device),
            }
        )

    def user(self, request: Request, email: str, password: str) -> User:
        """Who has this address and password. Raises BadInput, RateLimited, NotActivated."""
        try:
            address = normalise_address(email)
        except AddressError:
            address = email[:400]
        try:
            user = get_adapter().authenticate(request._request, email=address, password=password)
        except ValidationError as error:
            raise too_often() from error
        if not isinstance(user, User) or not user.is_active:
            raise BadInput(gettext("Email or password incorrect"))
        if not user.emailaddress_set.filter(verified=True, primary=True).exists():
            raise NotActivated(gettext("Account not activated: open the link in the mail first."))
        return user


class Mfa(SignInView):
    """`POST /api/auth/mfa`: the code of an authenticator app, or a recovery code."""

    def post(self, request: Request) -> Response:
        self.check_offered()
        user, device = self.user(self.text("mfa_key")), self.device()
        form: Any = BaseAuthenticateForm({"code": code_field(self.fields, "mfa_token")}, user=user)
        if not form.is_valid():
            codes = {error.code for error in form.errors.as_data().get("code", [])}
            if "too_many_login_attempts" in codes or "rate_limited" in codes:
                raise too_often()
            raise BadInput(gettext("Wrong TOTP Token"))
        secret = self.token(user, device)
        return Response({"name": user.name, "email": user.email, "api_key": secret})

    def user(self, key: str) -> User:
        """Whose password was right a moment ago, and still is. Raises BadInput."""
        number = key.partition(":")[0]
        is_key = number.isascii() and number.isdigit() and len(number) <= KEY_DIGITS_MAX
        user = User.objects.filter(pk=int(number), is_active=True).first() if is_key else None
        try:
            if user is not None:
                _signer(user).unsign(key, max_age=timedelta(seconds=MFA_VALID))
                return user
        except BadSignature:
            pass
        raise BadInput(gettext("Invalid mfa_key: sign in once more."))


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
