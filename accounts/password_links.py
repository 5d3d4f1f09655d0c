"""The link through which a user sets a password."""

from allauth.account.forms import default_token_generator
from allauth.account.utils import user_pk_to_url_str
from django.conf import settings

from accounts.models import User
from core.mails import absolute_url, send_template


def password_link(user: User) -> str:
    """An absolute URL through which its holder can choose a password for `user`, once.

    Valid for PASSWORD_RESET_TIMEOUT (Django's three days) or until the password changes.
    """
    key = default_token_generator.make_token(user)
    return absolute_url("account_reset_password_from_key", uidb36=user_pk_to_url_str(user), key=key)


def send_password_link(user: User) -> None:
    """Mail the link to the user's primary address. Raises what the mail backend raises."""
    context = {
        "user": user,
        "link": password_link(user),
        "site_url": settings.SITE_URL,
        "days": settings.PASSWORD_RESET_TIMEOUT // 86400,
    }
    send_template("accounts/email/set_password", user.email, context, language=user.language)
