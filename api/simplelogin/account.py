"""SimpleLogin's calls about an account: who it is, its settings, domains, mailboxes, exports."""

from typing import Any, ClassVar

from allauth.account.models import EmailAddress
from django.db.models import Count, Q
from django.http import HttpResponseBase, StreamingHttpResponse
from django.utils.translation import gettext
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import User
from aliases.choosing import choose_domain
from aliases.exceptions import NoUsableDomain
from aliases.models import Alias, AliasPreferences
from aliases.validation import clean_name
from api.errors import BadInput, NotFound, NotOffered
from api.query import read_query
from api.simplelogin.inputs import WRONG_MAILBOX, flag_field, text_field
from api.simplelogin.objects import creation
from api.simplelogin.objects import mailbox_object as mailbox
from api.simplelogin.refused import page as page_url
from api.views import ApiView, Rights
from domains.models import AliasStyle, Domain
from mail.models import PausedDestination
from mailboxes.adding import add_address
from mailboxes.changing import remove_address
from tokens.models import Token
from tokens.scopes import ANY_TOKEN, Scope
from transfer.formats.simplelogin import simplelogin_csv

# SimpleLogin's two settings for what we call a style: `alias_generator` and `random_alias_suffix`.
SETTINGS_OF_STYLE = {
    AliasStyle.WORDS: ("word", "word"),
    AliasStyle.CHARACTERS: ("word", "random_string"),
    AliasStyle.UUID: ("uuid", "random_string"),
}
# There are no reverse aliases yet whose From could be written in another way.
SENDER_FORMAT = "AT"
SENDER_FORMATS = ("AT", "A", "NAME_ONLY", "AT_ONLY", "NO_NAME")


def user_info(user: User) -> dict[str, Any]:
    """SimpleLogin's object for an account."""
    return {
        "name": user.name,
        "email": user.email,
        # Clients keep functions from those who do not pay; here nobody does.
        "is_premium": True,
        "in_trial": False,
        "trial_end_timestamp": None,
        "max_alias_free_plan": 0,
        "connected_proton_address": None,
        "can_create_reverse_alias": False,
        "profile_picture_url": None,
    }


class UserInfo(ApiView):
    """`GET` and `PATCH /api/user_info`: clients check their key with it."""

    scope = {"get": ANY_TOKEN, "patch": Scope.MANAGE}

    def get(self, request: Request) -> Response:
        return Response(user_info(self.caller))

    def patch(self, request: Request) -> Response:
        data = self.fields
        if data.get("profile_picture") is not None:
            raise BadInput(gettext("There are no profile pictures here."))
        if "name" in data:
            self.caller.name = clean_name(text_field(data, "name") or "")
            self.caller.save(update_fields=["name"])
        return Response(user_info(self.caller))


class Stats(ApiView):
    """`GET /api/stats`."""

    scope = Scope.ACTIVITY

    def get(self, request: Request) -> Response:
        figures = Alias.objects.owned_by(self.caller).present().figures()
        return Response(
            {
                "nb_alias": figures["aliases"],
                "nb_forward": figures["forwards"],
                "nb_reply": figures["replies"],
                "nb_block": figures["blocks"],
            }
        )


def mailbox_object(address: EmailAddress, aliases: int) -> dict[str, Any]:
    """An own address as SimpleLogin's mailbox. When it was added is not kept: the account's beginning."""
    return {
        **mailbox(address),
        "verified": address.verified,
        "default": address.primary,
        "creation_timestamp": creation(address.user.date_joined)["creation_timestamp"],
        "nb_alias": aliases,
    }


class Mailboxes(ApiView):
    """`GET` and `POST /api/mailboxes`: the caller's verified addresses; adding one to receive at."""

    scope: ClassVar[Rights] = {"get": Scope.CREATE, "post": Scope.MANAGE}
    only_verified = True

    def get(self, request: Request) -> Response:
        rows = EmailAddress.objects.filter(user=self.caller).select_related("user")
        if self.only_verified:
            rows = rows.filter(verified=True)
        present = Count("alias_links", filter=Q(alias_links__alias__deleted_at=None))
        rows = rows.annotate(number=present).order_by("-primary", "pk")
        return Response({"mailboxes": [mailbox_object(row, row.number) for row in rows]})

    def post(self, request: Request) -> Response:
        address = add_address(request._request, self.caller, text_field(self.fields, "email") or "")
        return Response(mailbox_object(address, 0), status=201)


class AllMailboxes(Mailboxes):
    """`GET /api/v2/mailboxes`: those that are not verified too."""

    scope = Scope.CREATE
    only_verified = False
    http_method_names = ("get", "options")


class OneMailbox(ApiView):
    """`PUT` and `DELETE /api/mailboxes/:id`. The primary address is chosen on the page alone."""

    scope = Scope.MANAGE

    def address(self, key: int) -> EmailAddress:
        """One of the caller's addresses; anybody else's does not exist."""
        found = EmailAddress.objects.filter(user=self.caller, pk=key).first()
        if found is None:
            raise NotFound(gettext("There is no such mailbox."))
        return found

    def put(self, request: Request, key: int) -> Response:
        address, data = self.address(key), self.fields
        email = text_field(data, "email")
        flag_field(data, "cancel_email_change")
        becomes_default = flag_field(data, "default") and not address.primary
        if becomes_default or (email is not None and email != address.email):
            # A token never changes how its owner signs in.
            raise NotOffered(
                gettext("A token cannot change the addresses that sign in. Use the web page: %(url)s")
                % {"url": page_url("address-list")}
            )
        return Response({"updated": True})

    def delete(self, request: Request, key: int) -> Response:
        address = self.address(key)
        target = self.fields.get("transfer_aliases_to")
        if isinstance(target, bool) or not isinstance(target, int | None):
            raise BadInput(WRONG_MAILBOX)
        move_to = None
        if target is not None and target != -1:
            move_to = EmailAddress.objects.filter(
                user=self.caller, verified=True, pk=target if 0 < target < 2**63 else 0
            ).first()
            if move_to is None or move_to.pk == address.pk:
                raise BadInput(WRONG_MAILBOX)
        remove_address(self.caller, address, move_to=move_to, by_api=True)
        return Response({"deleted": True})


def usable_domains(user: User) -> list[Domain]:
    """The domains on which the user may create, by name."""
    return list(Domain.objects.usable_by(user).order_by("name"))


class Settings(ApiView):
    """`GET` and `PATCH /api/setting`."""

    scope = {"get": Scope.CREATE, "patch": Scope.MANAGE}

    def get(self, request: Request) -> Response:
        return Response(self.answer(preferences_of(self.caller)))

    def answer(self, preferences: AliasPreferences) -> dict[str, Any]:
        """SimpleLogin's object for these preferences."""
        generator, suffix = SETTINGS_OF_STYLE[AliasStyle(preferences.style)]
        try:
            default = choose_domain(self.caller)[0].name
        except NoUsableDomain:
            default = ""
        return {
            "alias_generator": generator,
            "notification": False,
            "random_alias_default_domain": default,
            "sender_format": SENDER_FORMAT,
            "random_alias_suffix": suffix,
        }

    def patch(self, request: Request) -> Response:
        data, preferences = self.fields, preferences_of(self.caller)
        flag_field(data, "notification")
        generator, suffix = SETTINGS_OF_STYLE[AliasStyle(preferences.style)]
        generator = one_of(data, "alias_generator", ("word", "uuid")) or generator
        suffix = one_of(data, "random_alias_suffix", ("word", "random_string")) or suffix
        one_of(data, "sender_format", SENDER_FORMATS)
        if generator == "uuid":
            preferences.style = AliasStyle.UUID
        else:
            preferences.style = AliasStyle.WORDS if suffix == "word" else AliasStyle.CHARACTERS
        if (name := text_field(data, "random_alias_default_domain")) is not None:
            chosen = [domain for domain in usable_domains(self.caller) if domain.name == name.lower()]
            if not chosen:
                raise BadInput(gettext("You cannot use this domain."))
            preferences.default_domain = chosen[0]
        kept = {"style": preferences.style, "default_domain": preferences.default_domain}
        AliasPreferences.objects.update_or_create(user=self.caller, defaults=kept)
        return Response(self.answer(preferences))


def preferences_of(user: User) -> AliasPreferences:
    """The user's preferences, new ones where none are stored."""
    stored = AliasPreferences.objects.select_related("default_domain").filter(user=user).first()
    return stored or AliasPreferences(user=user)


def one_of(data: dict[str, Any], name: str, values: tuple[str, ...]) -> str | None:
    """The text in a body's field, if it is one of these. Raises BadInput."""
    value = text_field(data, name)
    if value is not None and value not in values:
        raise BadInput(
            gettext("Invalid %(name)s: it must be one of %(values)s.")
            % {"name": name, "values": ", ".join(values)}
        )
    return value


class SettingDomains(ApiView):
    """`GET /api/v2/setting/domains`: where random aliases can be made."""

    scope = Scope.CREATE

    def get(self, request: Request) -> Response:
        return Response([self.row(domain) for domain in usable_domains(self.caller)])

    def row(self, domain: Domain) -> Any:
        """A domain as this version of the call writes it."""
        return {"domain": domain.name, "is_custom": False}


class OldSettingDomains(SettingDomains):
    """`GET /api/setting/domains`: pairs of "is the service's own" and the name."""

    def row(self, domain: Domain) -> Any:
        return [True, domain.name]


class CustomDomains(ApiView):
    """`GET /api/custom_domains`: the domains that the caller may use."""

    scope = Scope.CREATE

    def get(self, request: Request) -> Response:
        domains = usable_domains(self.caller)
        mine = Alias.objects.owned_by(self.caller).present().filter(domain__in=domains).order_by()
        counts = dict(mine.values_list("domain").annotate(number=Count("pk")))
        primary = EmailAddress.objects.filter(user=self.caller, primary=True)
        mailboxes = [mailbox(address) for address in primary]
        return Response(
            {
                "custom_domains": [
                    {
                        "id": domain.pk,
                        "domain_name": domain.name,
                        "is_verified": True,
                        "nb_alias": counts.get(domain.pk, 0),
                        **creation(domain.created),
                        "catch_all": False,
                        "name": None,
                        "random_prefix_generation": False,
                        "mailboxes": mailboxes,
                    }
                    for domain in domains
                ]
            }
        )


class CustomDomain(ApiView):
    """`PATCH /api/custom_domains/:id`: the domains are the server's."""

    scope = Scope.MANAGE

    def patch(self, request: Request, key: int) -> Response:
        raise NotOffered(gettext("The domains belong to this server: only its admin can change them."))


class CustomDomainTrash(ApiView):
    """`GET /api/custom_domains/:id/trash`: the domains are the server's."""

    scope = Scope.CREATE

    def get(self, request: Request, key: int) -> Response:
        raise NotOffered(
            gettext("The domains belong to this server. Your deleted aliases have a page of their own.")
        )


class Notifications(ApiView):
    """`GET /api/notifications`: destinations that were paused; there is nothing else to tell."""

    scope = Scope.ACTIVITY

    def get(self, request: Request) -> Response:
        page = read_query(request.META.get("QUERY_STRING", "")).get("page", "0")
        if not (page.isascii() and page.isdigit()) or len(page) > 10:
            raise BadInput(gettext("page must be provided in request query: a number from 0."))
        paused = PausedDestination.objects.filter(destination__user=self.caller)
        rows = paused.select_related("destination").order_by("-since")
        told = [
            {
                "id": row.pk,
                "title": gettext("A destination is paused"),
                "message": gettext("%(address)s refused mail several times and is paused.")
                % {"address": row.destination.email},
                "read": False,
                "created_at": row.since.isoformat(timespec="seconds"),
            }
            for row in rows
        ]
        return Response({"more": False, "notifications": told if int(page) == 0 else []})


class ExportData(ApiView):
    """`GET /api/export/data`."""

    scope = Scope.MANAGE

    def get(self, request: Request) -> Response:
        aliases = Alias.objects.owned_by(self.caller).present().order_by("pk")
        return Response(
            {
                "email": self.caller.email,
                "name": self.caller.name,
                "aliases": [
                    {"email": email, "enabled": enabled}
                    for email, enabled in aliases.values_list("address", "enabled")
                ],
                "apps": [],
                # The domains are the server's; npm's simplelogin-client breaks on any text here.
                "custom_domains": [],
            }
        )


class ExportAliases(ApiView):
    """`GET /api/export/aliases`: CSV, as SimpleLogin's and its import write and read it."""

    scope = Scope.MANAGE

    def get(self, request: Request) -> HttpResponseBase:
        rows = simplelogin_csv(self.caller)
        response = StreamingHttpResponse(rows, content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = 'attachment; filename="aliases.csv"'
        return response


class Logout(ApiView):
    """`GET /api/logout`: revokes the token that came with the request."""

    scope = ANY_TOKEN

    def get(self, request: Request) -> Response:
        token = request.auth
        if isinstance(token, Token):
            token.revoke()
        return Response({"msg": gettext("User is logged out")})


class Contacts(ApiView):
    """`GET` and `POST /api/aliases/:id/contacts`: there are no reverse aliases yet."""

    scope = {"get": Scope.ACTIVITY, "post": Scope.MANAGE}

    def get(self, request: Request, key: int) -> Response:
        self.check(key)
        return Response({"contacts": []})

    def post(self, request: Request, key: int) -> Response:
        self.check(key)
        raise NotOffered(gettext("Reverse aliases are not available on this server."))

    def check(self, key: int) -> None:
        """Raise NotFound where the caller has no such alias."""
        if not Alias.objects.owned_by(self.caller).present().filter(pk=key).exists():
            raise NotFound(gettext("There is no such alias."))


class OneContact(ApiView):
    """`DELETE /api/contacts/:id`: there are none."""

    scope = Scope.MANAGE

    def delete(self, request: Request, key: int) -> Response:
        raise NotOffered(gettext("Reverse aliases are not available on this server."))


class ContactToggle(ApiView):
    """`POST /api/contacts/:id/toggle`: there are none."""

    scope = Scope.MANAGE

    def post(self, request: Request, key: int) -> Response:
        raise NotOffered(gettext("Reverse aliases are not available on this server."))
