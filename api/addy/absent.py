"""What addy.io's apps also ask for but this server does not offer: empty lists and refusals."""

from typing import ClassVar
from uuid import UUID

from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from rest_framework.request import Request

from api.addy.aliases import AliasView
from api.addy.inputs import AliasId
from api.addy.schema import AddyCall
from api.answers import Answer
from api.errors import NotOffered
from api.views import ApiView, Rights
from core.mails import absolute_url
from tokens.scopes import ANY_TOKEN, Scope

NOTHING = {"type": "array", "items": {"type": "object"}, "maxItems": 0}


def empty_list(of: str, refusal: str | Promise = "") -> type[ApiView]:
    """The view of a list without rows; `refusal` says why none can be added."""

    class EmptyList(ApiView):
        scope: ClassVar[Rights] = Scope.CREATE

        @AddyCall(
            f"An empty list: there are no {of} on this server",
            {"data": NOTHING},
            example={"data": []},
        )
        def get(self, request: Request) -> Answer:
            return Answer({"data": []})

    class EmptyListThatStaysEmpty(EmptyList):
        scope = {"get": Scope.CREATE, "post": Scope.MANAGE}

        @AddyCall("Add one: refused", refuses=(403,))
        def post(self, request: Request) -> Answer:
            raise NotOffered(str(refusal))

    return EmptyListThatStaysEmpty if refusal else EmptyList


# By the last part of the path.
VIEWS: dict[str, type[ApiView]] = {
    "usernames": empty_list(
        "user names", _("There are no user names on this server: people sign in with their e-mail address.")
    ),
    # `domain-options` has those that may be used.
    "domains": empty_list("domains of your own", _("Only an admin can add domains to this server.")),
    "account-notifications": empty_list("notifications"),
}


class AttachedRecipientsOnly(AliasView):
    @AddyCall("Let only an alias's recipients reply: refused", takes=AliasId, refuses=(403, 404, 422))
    def post(self, request: Request) -> Answer:
        self.alias(AliasId.read(self.fields)["id"])
        raise NotOffered(
            gettext("Who may reply is set for all your aliases, on the page Account: %(url)s")
            % {"url": absolute_url("account-replies")}
        )


class OneAttachedRecipientsOnly(AliasView):
    @AddyCall("Let all your recipients reply: nothing changes", status=204)
    def delete(self, request: Request, uuid: UUID) -> Answer:
        self.alias(uuid)
        return Answer(status=204)


class DeleteAccount(ApiView):
    scope = ANY_TOKEN

    @AddyCall("Delete the account: refused", refuses=(403,))
    def post(self, request: Request) -> Answer:
        raise NotOffered(
            gettext("No token can delete your account. Delete it on the web page: %(url)s")
            % {"url": absolute_url("account-delete")}
        )
