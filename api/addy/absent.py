"""What addy.io's apps also ask for but this server does not offer: an empty list and refusals."""

from typing import ClassVar
from uuid import UUID

from django.utils.translation import gettext
from rest_framework.request import Request

from api.addy.aliases import AliasView
from api.addy.inputs import AliasId
from api.addy.schema import AddyCall
from api.answers import Answer
from api.errors import NotOffered
from api.views import ApiView, Rights
from core.mails import absolute_url
from tokens.scopes import ANY_TOKEN, Scope


class Notifications(ApiView):
    scope: ClassVar[Rights] = Scope.CREATE

    @AddyCall(
        "An empty list: there are no notifications on this server",
        {"data": {"type": "array", "items": {"type": "object"}, "maxItems": 0}},
        example={"data": []},
    )
    def get(self, request: Request) -> Answer:
        return Answer({"data": []})


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
