"""The last steps of a sign-in that a source vouches for: allauth's stages, with the second factor."""

import time
from typing import Any

from allauth.account.authentication import get_authentication_records
from allauth.account.internal.flows.login import record_authentication
from allauth.account.utils import perform_login
from allauth.mfa.stages import AuthenticateStage
from django.conf import settings
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse

from accounts.models import Identity, User
from accounts.organisation.session_end import limit_session
from accounts.organisation.sources import OpenIdProvider

# The method in allauth's record of how somebody signed in, in the session.
METHOD = "organisation"


def sign_in(
    request: HttpRequest, user: User, source: str, *, next_url: str = "", has_second_factor: bool = False
) -> HttpResponse:
    """Sign the user in, after the second factor if they have one and the source asked for none."""
    if request.user.is_authenticated:
        logout(request)
    limit_session(request)
    record_authentication(request, user, METHOD, source=source, has_second_factor=has_second_factor)
    if has_second_factor:
        record_authentication(request, user, "mfa", type=METHOD)
    response: HttpResponse = perform_login(request, user, redirect_url=next_url or None)
    return response


def note_confirmation(request: HttpRequest, user: User, source: str) -> None:
    """The user has just signed in at the source again."""
    limit_session(request)
    record_authentication(request, user, METHOD, source=source, reauthenticated=True)


class SecondFactorStage(AuthenticateStage):  # type: ignore[misc]
    """Asks for the second factor, unless the source has asked for one in this sign-in."""

    def _should_handle(self, request: HttpRequest) -> bool:
        records: list[dict[str, Any]] = get_authentication_records(request, self.login.user)
        is_done = any(
            record["method"] == METHOD
            and record.get("has_second_factor")
            and time.time() - record["at"] < settings.ACCOUNT_REAUTHENTICATION_TIMEOUT
            for record in records[-2:]
        )
        return not is_done and bool(super()._should_handle(request))


def confirming_provider(user: User) -> OpenIdProvider | None:
    """The provider at which the user can sign in again, to confirm that it is they; None without one."""
    if not settings.OIDC_PROVIDERS:
        return None
    issuers = set(Identity.objects.owned_by(user).values_list("issuer", flat=True))
    return next((provider for provider in settings.OIDC_PROVIDERS if provider.issuer in issuers), None)


def is_in_directory(user: User) -> bool:
    """Whether the password of a directory signs the user in."""
    directory = settings.LDAP_DIRECTORY
    return directory is not None and Identity.objects.owned_by(user).filter(issuer=directory.issuer).exists()
