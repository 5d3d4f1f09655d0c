"""Signing in with an app, as the schema tells it: one pair of calls for both dialects."""

from drf_spectacular.utils import OpenApiResponse

from api import signin
from api.schema import (
    ERROR,
    FLAG,
    SENTENCES,
    TEXT,
    Call,
    body,
    describe,
    listing,
    nullable,
    record,
    shown_refusal,
)

SIGNED_IN = {"name": TEXT, "email": TEXT, "api_key": nullable(TEXT)}
# These two calls are addy.io's as well: `username` and `otp` are answered in its words.
SIGNED_IN_TO_ADDY = record(name=TEXT, api_key=TEXT, created_at=TEXT, expires_at=nullable(TEXT))
SIGN_IN_ERROR = {
    "oneOf": [
        ERROR,
        record(
            ("errors", "mfa_key", "csrf_token"),
            message=TEXT,
            errors={"type": "object", "additionalProperties": listing(TEXT)},
            mfa_key=TEXT,
            csrf_token=TEXT,
        ),
    ]
}
LIFETIME = {"type": "string", "enum": ["day", "week", "month", "year"], "nullable": True}


def sign_in_refusal(status: int) -> OpenApiResponse:
    """An error in either dialect."""
    if status == 401:
        return shown_refusal(status, SIGN_IN_ERROR, {"message": "Email or password incorrect"})
    return shown_refusal(status, SIGN_IN_ERROR, {"error": SENTENCES[status]})


describe(
    signin.Login,
    "auth_login",
    post=Call(
        "Sign in with a password, for a token",
        {"oneOf": [record(mfa_enabled=FLAG, mfa_key=nullable(TEXT), **SIGNED_IN), SIGNED_IN_TO_ADDY]},
        takes=body(
            email=TEXT, username=TEXT, password=TEXT, device=TEXT, device_name=TEXT, expiration=LIFETIME
        ),
        sends={"email": "alice@example.com", "password": "…", "device": "phone"},
        refuses=(401, 403, 422),
        refusal=sign_in_refusal,
        needs_key=False,
        example={
            "name": "Alice",
            "email": "alice@example.com",
            "mfa_enabled": False,
            "mfa_key": None,
            "api_key": "…",
        },
    ),
)
describe(
    signin.Mfa,
    "auth_mfa",
    post=Call(
        "The second factor's code after the password",
        {"oneOf": [record(**SIGNED_IN), SIGNED_IN_TO_ADDY]},
        takes=body(
            mfa_token=TEXT, otp=TEXT, mfa_key=TEXT, device=TEXT, device_name=TEXT, expiration=LIFETIME
        ),
        sends={"mfa_token": "123456", "mfa_key": "the one that /api/auth/login gave", "device": "phone"},
        refuses=(401, 403, 422),
        refusal=sign_in_refusal,
        needs_key=False,
        example={"name": "Alice", "email": "alice@example.com", "api_key": "…"},
    ),
)
describe(
    signin.ApiKey,
    "api_key",
    post=Call(
        "A token makes no token: refused",
        None,
        takes=body(device=TEXT),
        sends={"device": "phone"},
        refuses=(440,),
    ),
)
