"""Browsers that are signed in, half signed in, and the second factors that this takes."""

import time
from typing import Any

from allauth.account.internal.flows.login import record_authentication
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from allauth.mfa.webauthn.internal.auth import WebAuthn
from allauth.usersessions.models import UserSession
from django.test import Client, RequestFactory
from fido2.cose import ES256
from fido2.utils import websafe_encode
from fido2.webauthn import AttestationObject, AttestedCredentialData, AuthenticatorData

from accounts.models import User

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.0 Mobile/15E148 Safari/604.1"
)


def signed_in(user: User, **options: Any) -> Client:
    """A client in which the user has just signed in, with every factor."""
    client = Client(**options)
    client.force_login(user)
    request = RequestFactory().get("/")
    request.session = session = client.session
    record_authentication(request, user, "password", email=user.email)
    record_authentication(request, user, "mfa", type="totp")
    session.save()
    agent = client.defaults.get("HTTP_USER_AGENT", FIREFOX)
    UserSession.objects.create(user=user, session_key=session.session_key, ip="192.0.2.7", user_agent=agent)
    return client


def half_signed_in(user: User, password: str, **options: Any) -> Client:
    """A client that has given the password, and is asked for the second factor."""
    client = Client(**options)
    answer = client.post("/accounts/login/", {"login": user.email, "password": password})
    assert answer.headers["Location"].startswith("/accounts/2fa/authenticate/")
    return client


def totp_code(secret: str) -> str:
    """The code that an authenticator app shows now."""
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30))


def give_second_factors(user: User) -> str:
    """Set up an authenticator app, a passkey and recovery codes; returns the app's secret."""
    secret: str = generate_totp_secret()
    TOTP.activate(user, secret)
    RecoveryCodes.activate(user)
    give_passkey(user, "Phone")
    return secret


def give_passkey(user: User, name: str) -> Authenticator:
    """A passkey that is asked for, though nobody can answer."""
    point = {-2: bytes(31) + b"\1", -3: bytes(31) + b"\2"}
    held = AttestedCredentialData.create(bytes(16), name.encode(), ES256({1: 2, 3: -7, -1: 1, **point}))
    flags = AuthenticatorData.FLAG.AT | AuthenticatorData.FLAG.UP | AuthenticatorData.FLAG.UV
    made = AttestationObject.create("none", AuthenticatorData.create(bytes(32), flags, 0, held), {})
    credential = {
        "id": websafe_encode(name.encode()),
        "rawId": websafe_encode(name.encode()),
        "type": "public-key",
        "response": {
            "clientDataJSON": websafe_encode(b'{"type": "webauthn.create", "challenge": "", "origin": ""}'),
            "attestationObject": websafe_encode(bytes(made)),
        },
        "clientExtensionResults": {"credProps": {"rk": True}},
    }
    made_for: Authenticator = WebAuthn.add(user, name, credential).instance
    return made_for
