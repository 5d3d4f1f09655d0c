"""What somebody who is not signed in asks for by an address: the answer is one, the truth goes by mail.

Whoever asks learns nothing: each of these is done after the answer, whatever it finds.
"""

from datetime import timedelta

from allauth.account.internal.flows.password_reset import request_password_reset
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.mail import send_mail
from django.template.loader import render_to_string
from django.urls import reverse

from accounts.models import User
from core.ratelimit import Limit, count_within

# To one address, whoever asks. More are not sent: the links in those that came work as well.
MAILS = Limit("stranger-mail", 5, timedelta(hours=1))


def may_mail(email: str) -> bool:
    """Count a mail to this address, and return whether it may be sent."""
    return count_within(MAILS, email)


def send_new_password_link(email: str) -> None:
    """Mail the link for a new password to who signs in with this address; nobody else hears of it.

    Raises what the mail backend raises.
    """
    user = User.objects.by_email(email)
    if user and user.is_active and may_mail(user.email):
        request_password_reset(None, user.email, [user], None)


def sign_up(email: str, password_hash: str) -> None:
    """Make an account that waits for its address to be verified, and mail the link for that.

    Where there is an account already, its owner hears that somebody tried. An alias gets no mail: its
    owner asked for nothing. Raises what the mail backend raises.
    """
    try:
        user = User.objects.sign_up(email, password_hash)
    except ValidationError:
        if User.objects.by_email(email) or EmailAddress.objects.filter(email=email, verified=True).exists():
            _tell_of_the_try(email)
        return
    if may_mail(email):
        EmailConfirmationHMAC.create(user.emailaddress_set.get()).send(None, signup=True)


def _tell_of_the_try(email: str) -> None:
    if not may_mail(email):
        return
    context = {
        "email": email,
        "sign_in": f"{settings.SITE_URL}{reverse(settings.LOGIN_URL)}",
        "new_password": f"{settings.SITE_URL}{reverse('account_reset_password')}",
    }
    send_mail(
        render_to_string("accounts/email/sign_up_again_subject.txt", context).strip(),
        render_to_string("accounts/email/sign_up_again.txt", context),
        None,
        [email],
    )
