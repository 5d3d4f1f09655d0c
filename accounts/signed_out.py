"""Signing up, and asking for a new password: the answer is always the same, the mail says the rest.

These run after the answer, so that it reveals nothing about an address.
"""

from datetime import timedelta

from allauth.account.internal.flows.password_reset import request_password_reset
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from django.conf import settings
from django.core.exceptions import ValidationError

from accounts.models import User
from accounts.verification_mails import may_mail_verification
from core.mails import absolute_url, send_template
from core.ratelimit import Limit, count_within

# To one address, from all clients. The links in the mails already sent still work.
MAILS = Limit("stranger-mail", 5, timedelta(hours=1))
# Those that only tell that somebody has tried to sign up.
ATTEMPTS = Limit("attempt-mail", 10, timedelta(days=1))


def may_mail(email: str) -> bool:
    """Count a mail to this address, and return whether it may be sent."""
    return count_within(MAILS, email)


def send_new_password_link(email: str) -> None:
    """Mail the link for a new password to the user who signs in with this address, if there is one.

    Raises what the mail backend raises.
    """
    user = User.objects.by_email(email)
    if user and user.is_active and may_mail(user.email):
        request_password_reset(None, user.email, [user], None)


def sign_up(email: str, password_hash: str) -> None:
    """Create an account whose address is to be verified, and mail the link for that.

    If there is an account already, its owner gets a mail about the attempt. An alias gets none. Raises
    what the mail backend raises.
    """
    try:
        user = User.objects.sign_up(email, password_hash)
    except ValidationError:
        if User.objects.by_email(email) or EmailAddress.objects.filter(email=email, verified=True).exists():
            _mail_about_attempt(email)
        return
    address = user.emailaddress_set.get()
    if may_mail(email) and may_mail_verification(address):
        EmailConfirmationHMAC.create(address).send(None, signup=True)


def _mail_about_attempt(email: str) -> None:
    if not (may_mail(email) and count_within(ATTEMPTS, email)):
        return
    context = {
        "email": email,
        "sign_in": absolute_url(settings.LOGIN_URL),
        "new_password": absolute_url("account_reset_password"),
    }
    send_template("accounts/email/sign_up_again", email, context)
