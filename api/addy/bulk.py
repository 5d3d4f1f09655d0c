"""addy.io's calls for up to 25 aliases at once: what one call does to one, done to each."""

from django.db import transaction
from django.utils.translation import gettext, ngettext
from rest_framework.request import Request
from rest_framework.response import Response

from aliases.models import Alias, AliasQuerySet
from api.addy.aliases import AliasView
from api.addy.inputs import ids_of, recipients_of, refused_by_field
from api.addy.objects import alias_object, with_last_mail
from api.errors import NotFound, Unprocessable
from tokens.scopes import Scope


class BulkView(AliasView):
    """`POST /api/v1/aliases/:deed/bulk`: does a deed to each of the aliases that `ids` names."""

    scope = Scope.MANAGE

    def found(self) -> list[Alias]:
        """The caller's aliases of these ids that the deed changes. Raises Unprocessable, NotFound."""
        aliases = list(self.among(self.all_mine().filter(uuid__in=ids_of(self.fields))).order_by("pk"))
        if not aliases:
            raise NotFound(gettext("No aliases found"))
        for alias in aliases:
            alias.owner = self.caller
        return aliases

    def among(self, aliases: AliasQuerySet) -> AliasQuerySet:
        """Of these aliases, those that the deed can be done to."""
        return aliases.present()

    def do(self, alias: Alias) -> None:
        """The deed."""
        raise NotImplementedError

    def do_all(self, aliases: list[Alias]) -> None:
        """The deed, to each of them."""
        for alias in aliases:
            self.do(alias)

    @transaction.atomic
    def post(self, request: Request) -> Response:
        aliases = self.found()
        self.do_all(aliases)
        sentence = ngettext("%(count)s alias changed.", "%(count)s aliases changed.", len(aliases))
        ids = [str(alias.uuid) for alias in aliases]
        return Response({"message": sentence % {"count": len(aliases)}, "ids": ids})


class BulkGet(BulkView):
    """`POST /api/v1/aliases/get/bulk`."""

    scope = Scope.CREATE

    def all_mine(self) -> AliasQuerySet:
        # addy.io leaves their recipients out here.
        return with_last_mail(Alias.objects.owned_by(self.caller))

    def among(self, aliases: AliasQuerySet) -> AliasQuerySet:
        return aliases

    def post(self, request: Request) -> Response:
        shows = self.shows_activity
        rows = [alias_object(alias, self.caller, recipients=False, activity=shows) for alias in self.found()]
        return Response({"data": rows})


class BulkActivate(BulkView):
    """`POST /api/v1/aliases/activate/bulk`."""

    def found(self) -> list[Alias]:
        aliases = super().found()
        present = [alias for alias in aliases if not alias.is_deleted]
        if not present:
            raise Unprocessable(
                "ids", gettext("You need to restore these aliases before you can activate them.")
            )
        return present

    def among(self, aliases: AliasQuerySet) -> AliasQuerySet:
        # Whatever its switch, a deleted one is told as inactive.
        return aliases.exclude(enabled=True, deleted_at=None)

    def do(self, alias: Alias) -> None:
        alias.enable()


class BulkDeactivate(BulkView):
    """`POST /api/v1/aliases/deactivate/bulk`."""

    def among(self, aliases: AliasQuerySet) -> AliasQuerySet:
        return aliases.present().filter(enabled=True)

    def do(self, alias: Alias) -> None:
        alias.disable()


class BulkPin(BulkView):
    """`POST /api/v1/aliases/pin/bulk`."""

    def do(self, alias: Alias) -> None:
        alias.edit(pinned=True)


class BulkUnpin(BulkView):
    """`POST /api/v1/aliases/unpin/bulk`."""

    def do(self, alias: Alias) -> None:
        alias.edit(pinned=False)


class BulkDelete(BulkView):
    """`POST /api/v1/aliases/delete/bulk`."""

    def do(self, alias: Alias) -> None:
        alias.soft_delete()


class BulkRestore(BulkView):
    """`POST /api/v1/aliases/restore/bulk`: all of them, or none."""

    def among(self, aliases: AliasQuerySet) -> AliasQuerySet:
        return aliases.deleted().select_related("domain")

    def do(self, alias: Alias) -> None:
        alias.restore()


class BulkForget(BulkView):
    """`POST /api/v1/aliases/forget/bulk`."""

    def among(self, aliases: AliasQuerySet) -> AliasQuerySet:
        return aliases

    def do_all(self, aliases: list[Alias]) -> None:
        Alias.objects.owned_by(self.caller).filter(pk__in=[alias.pk for alias in aliases]).strip()


class BulkRecipients(BulkView):
    """`POST /api/v1/aliases/recipients/bulk`."""

    @transaction.atomic
    def post(self, request: Request) -> Response:
        self.addresses = recipients_of(self.fields, self.caller) or [self.caller.email]
        return super().post(request)

    def among(self, aliases: AliasQuerySet) -> AliasQuerySet:
        return aliases

    def do(self, alias: Alias) -> None:
        with refused_by_field("recipient_ids"):
            alias.set_destinations(self.addresses)


# By the deed in the path.
VIEWS: dict[str, type[BulkView]] = {
    "get": BulkGet,
    "activate": BulkActivate,
    "deactivate": BulkDeactivate,
    "pin": BulkPin,
    "unpin": BulkUnpin,
    "delete": BulkDelete,
    "restore": BulkRestore,
    "forget": BulkForget,
    "recipients": BulkRecipients,
}
