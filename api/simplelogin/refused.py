"""What SimpleLogin's apps also call and this server does on its pages alone: a sentence that says where.

Statuses are those of the real server for an account without the right, or for a wrong request.
"""

from django.conf import settings
from django.urls import reverse
from django.utils.translation import gettext
from rest_framework.request import Request
from rest_framework.response import Response

from api.errors import BadInput, NeedSudo, NotOffered
from api.views import ApiView, SignInView
from tokens.scopes import ANY_TOKEN, Scope


def page(name: str) -> str:
    """The whole address of a page, for somebody who reads it in an app."""
    return f"{settings.SITE_URL}{reverse(name)}"


class Register(SignInView):
    """`POST /api/auth/register`."""

    def post(self, request: Request) -> Response:
        if settings.SIGNUP_OPEN:
            raise BadInput(
                gettext("Make your account on the web page: %(url)s") % {"url": page("account_signup")}
            )
        raise BadInput(gettext("Accounts are made by an admin here."))


class Activate(SignInView):
    """`POST /api/auth/activate`: our mails have links, no codes."""

    def post(self, request: Request) -> Response:
        raise BadInput(
            gettext("Open the link in the mail. Signing in on the web page sends it once more: %(url)s")
            % {"url": page("account_login")}
        )


class Reactivate(Activate):
    """`POST /api/auth/reactivate`."""


class ForgotPassword(SignInView):
    """`POST /api/auth/forgot_password`."""

    def post(self, request: Request) -> Response:
        raise BadInput(
            gettext("Ask for a new password on the web page: %(url)s")
            % {"url": page("account_reset_password")}
        )


class Sudo(ApiView):
    """`PATCH /api/sudo`: a token never gets further than its own calls."""

    scope = ANY_TOKEN

    def patch(self, request: Request) -> Response:
        raise NotOffered(
            gettext("A token cannot get more rights. Use the web page: %(url)s") % {"url": page("account")}
        )


class DeleteUser(ApiView):
    """`DELETE /api/user`."""

    scope = ANY_TOKEN

    def delete(self, request: Request) -> Response:
        raise NeedSudo(
            gettext("Need sudo: delete your account on the web page: %(url)s")
            % {"url": page("account-delete")}
        )


class CookieToken(ApiView):
    """`GET /api/user/cookie_token`: signs in a browser, at SimpleLogin."""

    scope = ANY_TOKEN

    def get(self, request: Request) -> Response:
        raise NotOffered(
            gettext("A token does not sign in to the web page. Sign in there: %(url)s")
            % {"url": page("account_login")}
        )


class UnlinkProton(ApiView):
    """`DELETE /api/setting/unlink_proton_account`."""

    scope = ANY_TOKEN

    def delete(self, request: Request) -> Response:
        raise BadInput(gettext("No Proton account is linked."))


class NotificationRead(ApiView):
    """`POST /api/notifications/:id/read`."""

    scope = Scope.ACTIVITY

    def post(self, request: Request, key: int) -> Response:
        raise NotOffered(
            gettext("This stays until the address takes mail again: %(url)s") % {"url": page("address-list")}
        )
