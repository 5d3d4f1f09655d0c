"""addy.io's domains and user names: the names that a person has for aliases on the fly (aliases.spaces).

A domain that is somebody's as a whole is a domain of addy.io's; the names that end with a suffix are a user
name, as `*.alice@example.com`. Their catch-all is the switch that lets mail make aliases.
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, TypedDict
from uuid import UUID

from django.db.models import Case, CharField, Count, OuterRef, Prefetch, Subquery, Value, When
from django.db.models.functions import Concat
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from rest_framework.request import Request

from accounts.models import User
from aliases.exceptions import InvalidValue
from aliases.models import Alias, NameRule, NameSpace, NameSpaceQuerySet
from aliases.spaces import amend, clean_note, set_default_destination, switch_by_app
from api.addy.ids import public_id, public_ids
from api.addy.inputs import EXAMPLE_ID, EXAMPLE_RECIPIENT_ID, IdField, Input, TextField, parse_id
from api.addy.objects import SINCE, RecipientObject, example_address, example_user, recipient_object, stamp
from api.addy.recipients import recipient_of
from api.addy.schema import AddyCall
from api.answers import Answer
from api.errors import NotFound, NotOffered, Unprocessable
from api.schema import EXAMPLES
from api.views import ApiView, Rights
from core.mails import absolute_url
from core.matching import InvalidPattern
from domains.models import DnsCheck, Domain
from tokens.scopes import Scope


class SpaceObject(TypedDict):
    id: UUID
    user_id: UUID
    description: str | None
    from_name: str | None
    aliases: list[dict[str, Any]]
    aliases_count: int
    default_recipient: RecipientObject | None
    active: bool
    catch_all: bool
    auto_create_regex: str | None
    created_at: str
    updated_at: str


class DomainObject(SpaceObject):
    domain: str
    domain_verified_at: str
    domain_mx_validated_at: str | None
    domain_sending_verified_at: str | None


class UsernameObject(SpaceObject):
    username: str
    can_login: bool


def _space_object(space: Any, owner: User) -> SpaceObject:
    """A name space, which `_shown_spaces` has read."""
    since, destination = stamp(space.created), space.default_destination
    return {
        "id": public_id(*_key_of(space)),
        "user_id": public_id("user", owner.pk),
        "description": space.note or None,
        # One for each alias, and one for all.
        "from_name": None,
        "aliases": [],
        "aliases_count": space.number or 0,
        "default_recipient": recipient_object(destination, owner) if destination else None,
        # Aliases that exist receive mail whatever becomes of the names.
        "active": True,
        "catch_all": space.enabled and not space.is_paused,
        "auto_create_regex": space.expression or None,
        "created_at": since,
        "updated_at": since,
    }


def domain_object(space: Any, owner: User) -> DomainObject:
    """A domain that is the owner's as a whole; what the DNS check found wrong is not verified."""
    domain: Domain = space.domain
    check: DnsCheck | None = getattr(domain, "dns_check", None)
    wrong = check.wrong_records if check else frozenset()
    since = stamp(check.checked if check else domain.created)
    return {
        **_space_object(space, owner),
        "domain": domain.name,
        "domain_verified_at": stamp(domain.created),
        "domain_mx_validated_at": None if "mx" in wrong else since,
        "domain_sending_verified_at": None if wrong - {"mx"} else since,
    }


def username_object(space: Any, owner: User) -> UsernameObject:
    """The names that end with the owner's suffix."""
    return {**_space_object(space, owner), "username": f"*{space.ending}", "can_login": False}


def _key_of(space: NameSpace) -> tuple[str, int]:
    """Of which row the public id is. A domain's is the one that aliases and their list know it by."""
    return ("name space", space.pk) if space.suffix else ("domain", space.domain_id)


class Kind(NamedTuple):
    """Name spaces of one kind, by addy.io's word for it."""

    word: str
    shape: Any
    show: Callable[[Any, User], Any]
    among: Callable[[NameSpaceQuerySet], NameSpaceQuerySet]
    unknown: Promise
    not_added: Promise


DOMAIN = Kind(
    "domain",
    DomainObject,
    domain_object,
    NameSpaceQuerySet.of_whole_domains,
    _("There is no such domain."),
    _("Only an admin can add domains to this server."),
)
USERNAME = Kind(
    "username",
    UsernameObject,
    username_object,
    NameSpaceQuerySet.with_suffix,
    _("There is no such user name."),
    _(
        "User names cannot be added: you sign in with your e-mail address, and a domain's manager can give "
        "you names that end with a suffix."
    ),
)


def _shown_spaces(user: User) -> NameSpaceQuerySet:
    """The user's name spaces with all that is shown of them, and the `number` of aliases in each."""
    text = CharField()
    at = Concat(Value("@"), "domain__name", output_field=text)
    with_suffix = Concat(Value("."), "suffix", at, output_field=text)
    ending = Case(When(suffix="", then=at), default=with_suffix, output_field=text)
    aliases = Alias.objects.owned_by(user).present().order_by()
    within = aliases.filter(domain=OuterRef("domain"), address__endswith=OuterRef("_ending"))
    rules = NameRule.objects.select_related("address__openpgp_key").defer("address__openpgp_key__certificate")
    return (
        NameSpace.objects.owned_by(user)
        .noting_pauses()
        .select_related("domain__dns_check")
        # Instead of the property of this name, which reads them for one.
        .prefetch_related(Prefetch("rules", rules, to_attr="rows"))  # type: ignore[no-redef]
        .alias(_ending=ending)
        .annotate(number=Subquery(within.values("owner").annotate(number=Count("pk")).values("number")))
    )


class SpaceId(Input):
    id = IdField(initial=EXAMPLE_ID)


class SpaceChanges(Input):
    description = TextField(check=clean_note, allow_null=True, initial="Shops")
    from_name = TextField(allow_null=True)
    auto_create_regex = TextField(allow_null=True, initial="shop-.*")


class DefaultRecipient(Input):
    default_recipient = TextField(allow_null=True, initial=EXAMPLE_RECIPIENT_ID)


class SpaceView(ApiView):
    """A view of the caller's name spaces of one kind; other people's do not exist."""

    scope: ClassVar[Rights] = Scope.MANAGE
    kind: ClassVar[Kind]

    def mine(self) -> list[NameSpace]:
        return list(self.kind.among(_shown_spaces(self.caller)))

    def space(self, uuid: UUID | None) -> NameSpace:
        """The caller's name space of this id. Raises NotFound."""
        for space in self.mine():
            if uuid in public_ids(*_key_of(space)):
                return space
        raise NotFound(str(self.kind.unknown))

    def shown(self, space: NameSpace) -> Answer:
        """The name space as it is now. Raises NotFound if it was taken back."""
        now = _shown_spaces(self.caller).filter(pk=space.pk).first()
        if now is None:
            raise NotFound(str(self.kind.unknown))
        return Answer({"data": self.kind.show(now, self.caller)})


def views_of(kind: Kind) -> dict[str, type[SpaceView]]:
    """The views of one kind, by the name of their paths."""
    word, one = kind.word, {"data": kind.shape}
    what = {"domain": "a domain that is yours as a whole", "username": "names that end with your suffix"}[
        word
    ]
    own_kind = kind

    class OfKind(SpaceView):
        kind = own_kind

    class All(OfKind):
        scope = {"get": Scope.CREATE, "post": Scope.MANAGE}

        @AddyCall(f"Every {word}: {what}", {"data": list[kind.shape]})  # type: ignore[name-defined]
        def get(self, request: Request) -> Answer:
            return Answer({"data": [kind.show(space, self.caller) for space in self.mine()]})

        @AddyCall(f"Add a {word}: refused", refuses=(403,))
        def post(self, request: Request) -> Answer:
            raise NotOffered(str(kind.not_added))

    class One(OfKind):
        scope = {"get": Scope.CREATE, "patch": Scope.MANAGE, "delete": Scope.MANAGE}

        @AddyCall(f"One {word}", one)
        def get(self, request: Request, uuid: UUID) -> Answer:
            return Answer({"data": kind.show(self.space(uuid), self.caller)})

        @AddyCall(
            f"Change the description of {what}, or which new names become aliases",
            one,
            takes=SpaceChanges,
            refuses=(422,),
        )
        def patch(self, request: Request, uuid: UUID) -> Answer:
            space, data = self.space(uuid), SpaceChanges.read(self.fields)
            if data["from_name"]:
                sentence = gettext("A name in replies is set for each alias, or for all on the page: %(url)s")
                raise Unprocessable("from_name", sentence % {"url": absolute_url("account-replies")})
            try:
                amend(space, note=data["description"], expression=data["auto_create_regex"])
            except InvalidPattern as error:
                raise Unprocessable("auto_create_regex", error) from error
            return self.shown(space)

        @AddyCall(f"Delete a {word}: refused", refuses=(403,))
        def delete(self, request: Request, uuid: UUID) -> Answer:
            self.space(uuid)
            raise NotOffered(
                gettext("Only the domain's manager can take names back. Switch the catch-all off instead.")
            )

    class Default(OfKind):
        @AddyCall(
            f"Where mail to new aliases goes in {what}; null: to the primary address",
            one,
            takes=DefaultRecipient,
            refuses=(422,),
        )
        def patch(self, request: Request, uuid: UUID) -> Answer:
            space, written = self.space(uuid), DefaultRecipient.read(self.fields)["default_recipient"]
            address = recipient_of(self.caller, parse_id(written)) if written else None
            try:
                set_default_destination(space, address)
            except InvalidValue as error:
                raise Unprocessable("default_recipient", error) from error
            return self.shown(space)

    class CatchAll(OfKind):
        @AddyCall(
            f"Let the first mail to a name make it an alias, in {what}",
            one,
            takes=SpaceId,
            refuses=(403, 404, 422),
        )
        def post(self, request: Request) -> Answer:
            space = self.space(SpaceId.read(self.fields)["id"])
            switch_by_app(space, enabled=True)
            return self.shown(space)

    class OneCatchAll(OfKind):
        @AddyCall("Let mail make no more aliases", status=204)
        def delete(self, request: Request, uuid: UUID) -> Answer:
            switch_by_app(self.space(uuid), enabled=False)
            return Answer(status=204)

    class Active(OfKind):
        @AddyCall(f"Switch a {word} on: nothing changes", one, takes=SpaceId, refuses=(404, 422))
        def post(self, request: Request) -> Answer:
            return Answer({"data": kind.show(self.space(SpaceId.read(self.fields)["id"]), self.caller)})

    class OneActive(OfKind):
        @AddyCall(f"Switch a {word} off: refused", refuses=(403,))
        def delete(self, request: Request, uuid: UUID) -> Answer:
            self.space(uuid)
            raise NotOffered(
                gettext(
                    "Aliases are switched off one by one. Switch the catch-all off, and mail makes no more."
                )
            )

    return {
        f"{word}s": All,
        word: One,
        f"{word}-default-recipient": Default,
        f"active-{word}s": Active,
        f"active-{word}": OneActive,
        f"catch-all-{word}s": CatchAll,
        f"catch-all-{word}": OneCatchAll,
    }


class LoginableUsernames(SpaceView):
    kind = USERNAME

    @AddyCall("Let a user name sign in: refused", takes=SpaceId, refuses=(403, 404, 422))
    def post(self, request: Request) -> Answer:
        self.space(SpaceId.read(self.fields)["id"])
        raise NotOffered(gettext("You sign in with your e-mail address, and with no user name."))


class LoginableUsername(SpaceView):
    kind = USERNAME

    @AddyCall("Let a user name sign in no more: nothing changes", status=204)
    def delete(self, request: Request, uuid: UUID) -> Answer:
        self.space(uuid)
        return Answer(status=204)


VIEWS = {
    **views_of(DOMAIN),
    **views_of(USERNAME),
    "loginable-usernames": LoginableUsernames,
    "loginable-username": LoginableUsername,
}


def _example(suffix: str) -> Any:
    domain = Domain(pk=0, name="alice.example.com", created=SINCE, anonmail_enabled=True)
    DnsCheck(domain=domain, checked=SINCE)
    space: Any = NameSpace(pk=0, domain=domain, suffix=suffix, enabled=True, note="Shops", created=SINCE)
    space.number, space.is_paused = 12, False
    space.rows = [NameRule(space=space, glob="*", address=example_address())]
    return space


EXAMPLES |= {
    DomainObject: lambda: domain_object(_example(""), example_user()),
    UsernameObject: lambda: username_object(_example("shops"), example_user()),
}
