"""How django-allauth signs people in and mails them on this site."""

import logging
import time
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.authentication import get_authentication_records
from allauth.account.internal.flows.email_verification import consume_email_verification_rate_limit
from allauth.account.models import EmailAddress
from allauth.core.exceptions import ImmediateHttpResponse, ReauthenticationRequired
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import translation
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.local_passwords import has_password, is_signup_open, takes_passwords
from accounts.models.own_addresses import clean_email, is_available
from accounts.organisation.signing_in import confirming_provider, is_in_directory
from accounts.password_attempts import Try
from accounts.sign_ins import note_sign_in
from accounts.verification_mails import may_mail_verification
from core.mails import absolute_url

logger = logging.getLogger(__name__)

# Session key, during a sign-in: the hash that the user must still have when it completes.
SIGNING_IN = "signing_in"

# Recovery codes alone do not count.
SECOND_FACTORS = [Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN]

TOO_MANY_ATTEMPTS = _("Too many attempts. Try again later.")
WRONG_CODE = _("This code is wrong, too old, or was used already.")

# The ways to confirm a sign-in, by allauth's id.
WAYS = {
    "reauthenticate": _("Use the password"),
    "mfa_reauthenticate": _("Use a code"),
    "mfa_reauthenticate:webauthn": _("Use a passkey"),
}


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    error_messages = DefaultAccountAdapter.error_messages | {
        "account_inactive": _("This account has been deactivated."),
        "duplicate_email": _("You have this address already."),
        "email_password_mismatch": _("The e-mail address or the password is wrong."),
        "enter_current_password": _("This is not your current password."),
        "incorrect_code": WRONG_CODE,
        "incorrect_password": _("The password is wrong."),
        "invalid_password_reset": _("This link no longer works."),
        "max_email_addresses": _("You cannot have more than %d addresses."),
        "rate_limited": TOO_MANY_ATTEMPTS,
        "too_many_login_attempts": TOO_MANY_ATTEMPTS,
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return is_signup_open()

    def get_email_confirmation_url(self, request: HttpRequest, emailconfirmation: Any) -> str:
        """The mailed link: on SITE_URL, whatever host the request named."""
        return absolute_url("account_confirm_email", key=emailconfirmation.key)

    def should_send_confirmation_mail(
        self, request: HttpRequest, email_address: EmailAddress, signup: bool
    ) -> bool:
        """Whether signing in to a new account mails its link again; counts it."""
        is_due = consume_email_verification_rate_limit(request, email_address.email, dry_run=True)
        return is_due and may_mail_verification(email_address)

    def send_confirmation_mail(self, request: HttpRequest, emailconfirmation: Any, signup: bool) -> None:
        """Mail the link: in words for a new account, whenever its link is sent, or for a destination."""
        super().send_confirmation_mail(request, emailconfirmation, emailconfirmation.email_address.primary)

    def get_reset_password_from_key_url(self, key: str) -> str:
        """The mailed link: on SITE_URL, whatever host the request named."""
        uid, _dash, token = key.partition("-")
        return absolute_url("account_reset_password_from_key", uidb36=uid, key=token)

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Send a mail in this site's name, whatever host the request named, in its user's language."""
        mail = {"request": self.request, "email": email, "site_url": settings.SITE_URL, **context}
        with translation.override(getattr(context.get("user"), "language", "") or translation.get_language()):
            message = self.render_mail(template_prefix, email, mail)
        message.send()

    def clean_email(self, email: str) -> str:
        return clean_email(email)

    def confirm_email(self, request: HttpRequest, email_address: EmailAddress) -> bool:
        """Mark a new user's address as verified, unless it is not available any more."""
        with transaction.atomic():
            # Whoever makes an alias of it in this moment comes before or after (aliases.destinations).
            list(EmailAddress.objects.select_for_update().filter(pk=email_address.pk))
            if is_available(email_address.email, email_address.user):
                return bool(super().confirm_email(request, email_address))
        self.add_message(
            request,
            messages.ERROR,
            "account/messages/email_confirmation_failed.txt",
            {"email": email_address.email},
        )
        return False

    def authenticate(self, request: HttpRequest, **credentials: Any) -> Any:
        """The user with these credentials, or None. Raises ValidationError after too many attempts."""
        attempt = Try(request, credentials.get("email", ""))
        if not attempt.begin():
            raise self.validation_error("too_many_login_attempts")
        user = super().authenticate(request, **credentials)
        if user:
            attempt.give_back()
        return user

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Nothing: allauth would count attempts by account, so that strangers could use up the owner's."""

    def _delete_login_attempts_cached_email(self, request: HttpRequest, **credentials: Any) -> None:
        """allauth calls this when a user has chosen a new password through the mailed link."""
        Try(request, credentials["email"]).forget()

    def pre_login(self, request: HttpRequest, user: Any, **kwargs: Any) -> HttpResponse | None:
        """Remember which password began the sign-in: a second factor may follow minutes later."""
        request.session[SIGNING_IN] = user.get_session_auth_hash()
        response: HttpResponse | None = super().pre_login(request, user, **kwargs)
        return response

    def login(self, request: HttpRequest, user: Any) -> None:
        """Sign the user in, unless the password changed meanwhile; mail them about a new browser."""
        begun = request.session.pop(SIGNING_IN, "")
        if not constant_time_compare(begun, user.get_session_auth_hash()):
            messages.error(request, gettext("Your password or account was changed just now. Sign in again."))
            raise ImmediateHttpResponse(redirect(settings.LOGIN_URL))
        is_first = user.last_login is None
        super().login(request, user)
        if not user.language:
            user.language = str(translation.get_language())
            user.save(update_fields=["language"])
        note_sign_in(request, user, is_first=is_first)

    def set_password(self, user: Any, password: str) -> None:
        """Save a password; tokens that apps got with the old one end."""
        user.change_password(password, end_tokens=False)

    def send_notification_mail(
        self, template_prefix: str, user: Any, context: dict[str, Any] | None = None, email: str | None = None
    ) -> None:
        """Mail the user about a change, which stands even if the mail cannot be sent."""
        links = {
            "password_url": absolute_url("account_change_password"),
            "reset_url": absolute_url("account_reset_password"),
            "sessions_url": absolute_url("usersessions_list"),
            "takes_passwords": takes_passwords(),
        }
        try:
            super().send_notification_mail(
                template_prefix, user, {"user": user, **links, **(context or {})}, email
            )
        except OSError as error:
            logger.error("user %s not notified of a change: %s", user.pk, type(error).__name__)

    def add_message(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        """Show a message on the next page; API clients have none, and no cookie for it."""
        if not request.path.startswith("/api/"):
            super().add_message(request, *args, **kwargs)

    def is_reauthentication_required(self, *, app: str, **kwargs: Any) -> bool:
        """Whether to ask for the second factor again (without one: the password, or a new sign-in elsewhere).

        Raises ReauthenticationRequired if so.

        allauth counts only what was given on its own page for that; here signing in counts too.
        """
        user = self.request.user
        records = get_authentication_records(self.request, user)
        if is_mfa_enabled(user, SECOND_FACTORS):
            records = [record for record in records if record["method"] == "mfa"]
        if records and time.time() - records[-1]["at"] < settings.ACCOUNT_REAUTHENTICATION_TIMEOUT:
            return False
        # Whom a proxy signed in has no way to do it again. allauth itself would ask them for a password that
        # signs nobody in any more, and others, who have a provider, for nothing.
        is_required = super().is_reauthentication_required(app=app, **kwargs)
        if is_required and self.get_reauthentication_methods(user):
            raise ReauthenticationRequired
        return False

    def get_reauthentication_methods(self, user: Any) -> list[dict[str, Any]]:
        """The ways to confirm a sign-in: neither the password nor a provider if there is a second factor."""
        if not user.is_authenticated:
            return []
        methods: list[dict[str, Any]] = super().get_reauthentication_methods(user)
        methods = [
            {**method, "description": WAYS[method["id"]]}
            for method in methods
            if method["id"] != "reauthenticate"
        ]
        if is_mfa_enabled(user, SECOND_FACTORS):
            return methods
        if has_password(user) or is_in_directory(user):
            url = reverse("account_reauthenticate")
            methods.insert(0, {"id": "reauthenticate", "description": WAYS["reauthenticate"], "url": url})
        if provider := confirming_provider(user):
            url = reverse("organisation-confirm", args=[provider.key])
            said = gettext("Sign in at %(source)s again") % {"source": provider.name}
            methods.append({"id": "organisation", "description": said, "url": url})
        return methods

    def get_login_stages(self) -> list[str]:
        """The steps of a sign-in after the first: with our rule on who is asked for a second factor."""
        ours = {"allauth.mfa.stages.AuthenticateStage": "accounts.organisation.signing_in.SecondFactorStage"}
        return [ours.get(stage, stage) for stage in super().get_login_stages()]


class MFAAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    error_messages = DefaultMFAAdapter.error_messages | {"incorrect_code": WRONG_CODE}

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        """This site, as the browser shows it to the person who makes a passkey."""
        return {**super().get_public_key_credential_rp_entity(), "name": "Anonmail"}

    def generate_authenticator_name(self, user: Any, type: Authenticator.Type) -> str:
        """A name for the user's next passkey, unless they choose one."""
        number = Authenticator.objects.filter(user=user, type=type).count() + 1
        return gettext("Passkey %(number)s") % {"number": number}
