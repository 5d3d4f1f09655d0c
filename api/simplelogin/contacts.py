"""SimpleLogin's calls for contacts: there are no reverse aliases yet."""

from typing import Any

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from rest_framework.request import Request
from rest_framework.response import Response

from aliases.models import Alias
from api.errors import NotFound, NotOffered
from api.schema import Call
from api.simplelogin.inputs import NewContact
from api.simplelogin.refused import refused
from api.views import ApiView
from tokens.scopes import Scope

NO_REVERSE_ALIASES = _("Reverse aliases are not available on this server.")


class Contacts(ApiView):
    scope = {"get": Scope.ACTIVITY, "post": Scope.MANAGE}

    @Call("The contacts of an alias: none yet", {"contacts": list[Any]}, example={"contacts": []})
    def get(self, request: Request, key: int) -> Response:
        self.check(key)
        return Response({"contacts": []})

    @Call("Make a reverse alias: refused", takes=NewContact, refuses=(403,))
    def post(self, request: Request, key: int) -> Response:
        self.check(key)
        raise NotOffered(str(NO_REVERSE_ALIASES))

    def check(self, key: int) -> None:
        """Raise NotFound if the caller has no such alias."""
        if not Alias.objects.owned_by(self.caller).present().filter(pk=key).exists():
            raise NotFound(gettext("There is no such alias."))


OneContact = refused("delete", "Delete a contact", NO_REVERSE_ALIASES, scope=Scope.MANAGE)
ContactToggle = refused("post", "Block a contact", NO_REVERSE_ALIASES, scope=Scope.MANAGE)
