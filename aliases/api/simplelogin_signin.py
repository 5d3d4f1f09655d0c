"""SimpleLogin's sign-in for apps: an e-mail address and a password, perhaps a code, for a token."""

from datetime import timedelta
from typing import Any

from allauth.account.adapter import get_adapter
from allauth.mfa.base.forms import BaseAuthenticateForm
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.signing import BadSignature, TimestampSigner
from django.utils.translation import gettext
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.addresses import AddressError, normalise_address
from accounts.models import User
from aliases.api.errors import BadInput, NotOffered
from aliases.api.fields import text_field
from aliases.api.views import ApiView
from core.refusals import RateLimited, RuleError
from tokens.models import Token

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

    authentication_classes = ()
    permission_classes = (AllowAny,)

    def token(self, user: User, device: str) -> str:
        """A new token's secret. An older one of the same device is revoked: nobody can read it any more."""
        name = gettext("%(device)s (signed in)") % {"device": device[:DEVICE_MAX] or "app"}
        for older in Token.objects.owned_by(user).filter(name=name):
            older.revoke()
        _token, secret = Token.objects.issue(owner=user, name=name)
        return secret

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
        data = self.fields
        email, password = text_field(data, "email") or "", text_field(data, "password") or ""
        device = text_field(data, "device") or ""
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
                "mfa_key": _signer().sign(str(user.pk)) if has_code else None,
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
        data = self.fields
        try:
            key = _signer().unsign(text_field(data, "mfa_key") or "", max_age=timedelta(seconds=MFA_VALID))
        except BadSignature as error:
            raise BadInput(gettext("Invalid mfa_key: sign in once more.")) from error
        user = User.objects.filter(pk=int(key), is_active=True).first()
        if user is None:
            raise BadInput(gettext("Invalid mfa_key: sign in once more."))
        form: Any = BaseAuthenticateForm({"code": code_field(data, "mfa_token")}, user=user)
        if not form.is_valid():
            codes = {error.code for error in form.errors.as_data().get("code", [])}
            if "too_many_login_attempts" in codes or "rate_limited" in codes:
                raise too_often()
            raise BadInput(gettext("Wrong TOTP Token"))
        secret = self.token(user, text_field(data, "device") or "")
        return Response({"name": user.name, "email": user.email, "api_key": secret})


def code_field(data: dict[str, Any], name: str) -> str:
    """The code in a body's field. simplelogincmd sends a number: the zeros before it are put back."""
    code = data.get(name)
    if isinstance(code, int) and not isinstance(code, bool) and 0 <= code < 10**CODE_DIGITS:
        return f"{code:0{CODE_DIGITS}}"
    return text_field(data, name) or ""


class ApiKey(ApiView):
    """`POST /api/api_key`: without a key it is a 401 in JSON, which the browser extension asks for."""

    def post(self, request: Request) -> Response:
        raise NeedSudo(gettext("Need sudo: a token makes no other token. Make one on the web page instead."))


def too_often() -> RateLimited:
    """Somebody has tried too often."""
    return RateLimited(gettext("Too many tries to sign in. Try again later."), retry_after=RETRY_AFTER)


def _signer() -> TimestampSigner:
    return TimestampSigner(salt="aliases.api.mfa")
