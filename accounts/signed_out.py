"""Signing up, and asking for a new password: the answer is always the same, the mail says the rest.

These run after the answer, so that it reveals nothing about an address.
"""

from datetime import timedelta

from allauth.account.forms import default_token_generator
from allauth.account.internal.flows.password_reset import request_password_reset
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from django.conf import settings
from django.core.exceptions import ValidationError

from accounts.mail_limits import Pair, count_mail, mailbox_of
from accounts.models import User
from accounts.verification_mails import may_mail_verification
from core.exceptions import RateLimited
from core.mails import absolute_url, send_template
from core.ratelimit import Counter, Limit, count_within

# About signing up, to one address, from all clients. The links in the mails already sent still work.
MAILS = Limit("stranger-mail", 5, timedelta(hours=1))
# Those that only tell that somebody has tried to sign up.
ATTEMPTS = Limit("attempt-mail", 10, timedelta(days=1))
# Links for a new password: those of one account that still work, and all that go to one mailbox.
LINKS = Limit("new-password-day", 10, timedelta(days=1))
LINKS_BY_ALL = Limit("new-password-all-day", 20, timedelta(days=1))


def may_mail(email: str) -> bool:
    """Count a mail about signing up to this address, and return whether it may be sent."""
    return count_within(MAILS, email)


def send_new_password_link(email: str) -> None:
    """Mail the link for a new password to the user who signs in with this address, if there is one.

    Raises what the mail backend raises.
    """
    user = User.objects.by_email(email)
    if user is None or not user.is_active:
        return
    pairs = _pairs(user)
    try:
        count_mail(*pairs, is_kept_free=lambda: _is_kept_free(user))
    except RateLimited:
        return
    try:
        request_password_reset(None, user.email, [user], None)
    except OSError:
        Counter.objects.give_back(*pairs)
        raise


def _pairs(user: User) -> tuple[Pair, Pair]:
    # A sign-in, a new password or another address ends the links that were sent before; then they count anew.
    # Else a stranger could ask for so many before it that the owner gets none after it.
    state = default_token_generator._make_hash_value(user, "")
    return (LINKS, state), (LINKS_BY_ALL, mailbox_of(user.email))


def _is_kept_free(user: User) -> bool:
    """Whether the account's first link goes to its mailbox, however many others have gone there: not if
    anybody can have signed up with this tag, as often as there are tags."""
    verified = EmailAddress.objects.filter(user=user, email=user.email, verified=True)
    return user.email == mailbox_of(user.email) or verified.exists()


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
