"""What SimpleLogin's apps can do and this server does only on its pages: a sentence says where.

Statuses are those of the real server for an account without the right, or for a wrong request.
"""

from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from rest_framework.request import Request

from accounts.local_passwords import is_signup_open, takes_passwords
from api.answers import Answer
from api.errors import BadInput, NeedSudo, NotOffered, Unprocessable
from api.inputs import Input
from api.schema import Call
from api.simplelogin.inputs import Address, AddressAndCode, AddressAndPassword, Password
from api.views import ApiView, SignInView
from core.mails import absolute_url
from tokens.scopes import ANY_TOKEN, Scope


def refused(
    method: str,
    summary: str,
    sentence: Promise,
    page: str = "account",
    *,
    error: type[BadInput | NeedSudo | NotOffered] = NotOffered,
    takes: type[Input] | None = None,
    scope: Scope | None = ANY_TOKEN,
) -> type[ApiView]:
    """A view that answers this method with this error; `%(url)s` in its sentence is the page's address."""

    def refuse(self: ApiView, request: Request, key: int = 0) -> Answer:
        raise error(str(sentence) % {"url": absolute_url(page)})

    described = Call(f"{summary}: refused", takes=takes, refuses=(error.status,), needs_key=scope is not None)
    base = SignInView if scope is None else ApiView
    return type("Refused", (base,), {"scope": scope, method: described(refuse)})


class Register(SignInView):
    """SimpleLogin's path and addy.io's, whose apps alone send a user name."""

    speaks_addy = False

    @Call(
        "Make an account: refused (400; 422 with `username`, to addy.io's apps)",
        takes=AddressAndPassword,
        refuses=(400,),
        needs_key=False,
    )
    def post(self, request: Request) -> Answer:
        self.speaks_addy = "username" in self.fields
        sentence = _("Only an admin can create accounts on this server.")
        if is_signup_open():
            sentence = _("Make your account on the web page: %(url)s")
        words = str(sentence) % {"url": absolute_url("account_signup")}
        raise Unprocessable("username", words) if self.speaks_addy else BadInput(words)


SIGN_IN = "account_login"
# Our mails have links, no codes.
OPEN_THE_LINK = _("Open the link in the mail. Signing in on the web page sends it again: %(url)s")
Activate = refused(
    "post", "Verify an account", OPEN_THE_LINK, SIGN_IN, error=BadInput, takes=AddressAndCode, scope=None
)
Reactivate = refused(
    "post", "Send the mail again", OPEN_THE_LINK, SIGN_IN, error=BadInput, takes=Address, scope=None
)


class ForgotPassword(SignInView):
    @Call("Ask for a new password: refused", takes=Address, refuses=(400,), needs_key=False)
    def post(self, request: Request) -> Answer:
        if not takes_passwords():
            sentence = gettext("Nobody has a password here. Sign in on the web page: %(url)s")
            raise BadInput(sentence % {"url": absolute_url(SIGN_IN)})
        sentence = gettext("Ask for a new password on the web page: %(url)s")
        raise BadInput(sentence % {"url": absolute_url("account_reset_password")})


Sudo = refused(
    "patch",
    "More rights for a token",
    _("A token cannot get more rights. Use the web page: %(url)s"),
    takes=Password,
)
DeleteUser = refused(
    "delete",
    "Delete the account",
    _("Need sudo: delete your account on the web page: %(url)s"),
    "account-delete",
    error=NeedSudo,
)
CookieToken = refused(
    "get", "Sign in a browser", _("A token cannot sign in to the web page. Sign in there: %(url)s"), SIGN_IN
)
UnlinkProton = refused("delete", "Unlink a Proton account", _("No Proton account is linked."), error=BadInput)
NotificationRead = refused(
    "post",
    "Forget a notification",
    _("This stays until the address accepts mail again: %(url)s"),
    "address-list",
    scope=Scope.ACTIVITY,
)
CustomDomainTrash = refused(
    "get",
    "A domain's deleted aliases",
    _("The domains belong to this server. Your deleted aliases have a page of their own."),
    scope=Scope.CREATE,
)
