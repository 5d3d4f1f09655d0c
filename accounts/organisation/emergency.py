"""A link that signs a global admin in when nothing else does: the provider is down, or the settings wrong."""

from datetime import timedelta

from django.core.signing import BadSignature, TimestampSigner

from accounts.models import User
from core.converters import KEY_DIGITS_MAX
from core.mails import absolute_url
from core.secret_keys import secret_keys

VALID = timedelta(minutes=15)


def emergency_link(user: User) -> str:
    """An absolute URL that signs this global admin in, once, within 15 minutes.

    A second factor is still asked for.
    """
    return absolute_url("emergency", token=_signer(user).sign(str(user.pk)))


def admin_of(token: str) -> User | None:
    """The global admin whom the link signs in, or None if it is over."""
    number = token.partition(":")[0]
    if not (number.isascii() and number.isdigit() and len(number) <= KEY_DIGITS_MAX):
        return None
    user = User.objects.filter(pk=int(number), is_active=True, is_superuser=True).first()
    return user if user and any(_is_signed(user, token, key) for key in secret_keys()) else None


def _signer(user: User, secret_key: str | None = None) -> TimestampSigner:
    """Signs until the user signs in, or ends the sessions."""
    state = f"{user._get_session_auth_hash(secret_key)}:{user.last_login and user.last_login.isoformat()}"
    return TimestampSigner(key=secret_key, salt=f"accounts.emergency:{state}", fallback_keys=[])


def _is_signed(user: User, token: str, secret_key: str) -> bool:
    try:
        _signer(user, secret_key).unsign(token, max_age=VALID)
    except BadSignature:
        return False
    return True
