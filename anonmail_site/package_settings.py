"""Settings of the packages that we use, which are the same for every installation."""

from typing import Any

# --- Accounts (allauth) -------------------------------------------------------------------------

ACCOUNT_ADAPTER = "accounts.adapter.AccountAdapter"
ACCOUNT_FORMS = {
    "add_email": "accounts.forms.AddEmailForm",
    "change_password": "accounts.forms.ChangePasswordForm",
    "login": "accounts.forms.LoginForm",
    "reauthenticate": "accounts.forms.ReauthenticateForm",
    "reset_password": "accounts.forms.ResetPasswordForm",
    "reset_password_from_key": "accounts.forms.ResetPasswordKeyForm",
    "set_password": "accounts.forms.SetPasswordForm",
    "signup": "accounts.forms.SignupForm",
    "user_token": "accounts.forms.UserTokenForm",
}
# These extend the package's limits. accounts.password_attempts counts wrong passwords and
# accounts.signed_out counts mails to one address, because a stranger could use up a limit that counts by
# account alone.
ACCOUNT_RATE_LIMITS = {
    "change_password": "5/m/user,20/h/user",
    "login_failed": "10/m/ip,5/5m/key",  # second factors; only someone with the password gets that far
    "reset_password": "10/m/ip,60/h/ip",
    "signup": "10/m/ip,60/h/ip",
}
# An address without an account gets no mail.
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_UNIQUE_EMAIL = True
ACCOUNT_MAX_EMAIL_ADDRESSES = 20
# Choosing a password through the mailed link signs the user in (the second factor is still required).
ACCOUNT_LOGIN_ON_PASSWORD_RESET = True
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
# Notify the owner of a new password, primary address or second factor.
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_REAUTHENTICATION_REQUIRED = True
# Seconds for which a sign-in counts as recent.
ACCOUNT_REAUTHENTICATION_TIMEOUT = 300
ACCOUNT_EMAIL_SUBJECT_PREFIX = "[Anonmail] "
MFA_ADAPTER = "accounts.adapter.MFAAdapter"
MFA_FORMS = {
    "activate_totp": "accounts.forms.ActivateTOTPForm",
    "add_webauthn": "accounts.forms.AddWebAuthnForm",
    "authenticate": "accounts.forms.AuthenticateForm",
    "edit_webauthn": "accounts.forms.EditWebAuthnForm",
    "reauthenticate": "accounts.forms.ReauthenticateCodeForm",
}
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
# Nobody can sign in before the first address is verified. An additional, unverified destination must not
# prevent setting up a second factor, or the other way round.
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_TOTP_ISSUER = "Anonmail"

# --- The API ------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["tokens.authentication.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["tokens.permissions.HoldsScope"],
    # Views read bodies by `api.parsers` and answer with `api.answers`, whatever Content-Type and Accept say.
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "EXCEPTION_HANDLER": "api.errors.answer_error",
    "UNAUTHENTICATED_USER": None,
    "URL_FORMAT_OVERRIDE": None,
    "DEFAULT_SCHEMA_CLASS": "api.schema.ApiSchema",
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Anonmail's API",
    "DESCRIPTION": (
        "Aliases for password managers and scripts, in SimpleLogin's and addy.io's language.\n\n"
        "To try a call: make a token on the page [Tokens](/tokens/), press “Authorize”, enter it as "
        "`<e-mail>:<token>`; then open a call and press “Try it out”. The calls change your real data."
    ),
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "PREPROCESSING_HOOKS": ["api.schema.plain_paths"],
    # The page's assets come from the package, not from another server.
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "ENFORCE_NON_BLANK_FIELDS": False,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
}

# Any site's pages can call the API, because it accepts tokens and no cookies.
CORS_ALLOW_ALL_ORIGINS = True
CORS_URLS_REGEX = r"^/+api(/|$)"
CORS_ALLOW_METHODS = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]
CORS_ALLOW_HEADERS = [
    "accept",
    "accept-language",
    "authentication",
    "authorization",
    "content-type",
    "x-requested-from",
    "x-requested-with",
    "x-sl-allowcookies",
]
CORS_EXPOSE_HEADERS = ["Retry-After"]
CORS_PREFLIGHT_MAX_AGE = 86400
# A web vault on the internet can call a server on the user's own network.
CORS_ALLOW_PRIVATE_NETWORK = True
