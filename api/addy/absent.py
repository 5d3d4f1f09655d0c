"""What addy.io's apps also ask about and is not here: its lists are empty, and nothing is added to them."""

from uuid import UUID

from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from rest_framework.request import Request
from rest_framework.response import Response

from api.addy.aliases import AliasView
from api.addy.lists import Page
from api.errors import NotOffered
from api.query import read_query
from api.views import ApiView
from tokens.scopes import Scope


class EmptyList(ApiView):
    """`GET` of something that nobody has here."""

    def get(self, request: Request) -> Response:
        return Response({"data": []})


class EmptyPages(ApiView):
    """The same of a list that comes in pages."""

    def get(self, request: Request) -> Response:
        return Response(Page(request, read_query(request.META.get("QUERY_STRING", ""))).answer([], 0))


class RefusesToAdd(ApiView):
    """`POST` that says why nothing can be added."""

    scope = {"get": Scope.CREATE, "post": Scope.MANAGE}
    refusal: str | Promise

    def post(self, request: Request) -> Response:
        raise NotOffered(str(self.refusal))


class Rules(RefusesToAdd, EmptyList):
    """`/api/v1/rules`."""

    refusal = _("There are no rules for mail on this server.")


class Usernames(RefusesToAdd, EmptyList):
    """`/api/v1/usernames`: people sign in with an address."""

    refusal = _("There are no user names on this server: people sign in with their e-mail address.")


class OwnDomains(RefusesToAdd, EmptyList):
    """`/api/v1/domains`: addy.io's are a person's own; `domain-options` has those that may be used."""

    refusal = _("The domains of this server are an admin's to add.")


class Blocklist(RefusesToAdd, EmptyPages):
    """`/api/v1/blocklist`."""

    refusal = _("There is no list of blocked senders on this server. Disable the alias instead.")


class FailedDeliveries(EmptyPages):
    """`/api/v1/failed-deliveries`: no message is kept."""

    scope = Scope.ACTIVITY


class AccountNotifications(EmptyList):
    """`/api/v1/account-notifications`: news of the hosted service."""

    scope = Scope.CREATE


class AttachedRecipientsOnly(AliasView):
    """`POST /api/v1/attached-recipients-only`: who of one's own addresses may reply through an alias."""

    scope = Scope.MANAGE

    def post(self, request: Request) -> Response:
        self.named()
        raise NotOffered(gettext("Replies through an alias are not available on this server."))


class OneAttachedRecipientsOnly(AliasView):
    """`DELETE /api/v1/attached-recipients-only/:id`: it is off for every alias."""

    scope = Scope.MANAGE

    def delete(self, request: Request, uuid: UUID) -> Response:
        self.alias(uuid)
        return Response(status=204)


# By the word in the path.
VIEWS: dict[str, type[ApiView]] = {
    "rules": Rules,
    "usernames": Usernames,
    "domains": OwnDomains,
    "blocklist": Blocklist,
    "failed-deliveries": FailedDeliveries,
    "account-notifications": AccountNotifications,
}
