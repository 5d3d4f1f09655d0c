"""addy.io's calls about an account: its domains, its token, its figures, its recipients."""

from uuid import UUID

from allauth.account.models import EmailAddress
from django.db.models import Count, Q, Sum
from django.utils.translation import gettext
from rest_framework.request import Request
from rest_framework.response import Response

from aliases import naming
from aliases.choosing import choose
from aliases.issuing import NEEDS_SUFFIX, needs_suffix
from aliases.models import Alias
from api.addy.ids import public_id
from api.addy.inputs import choice_of
from api.addy.objects import recipient_object, stamp
from api.errors import NotFound
from api.query import read_query
from api.views import ApiView
from domains.models import Domain
from tokens.models import Token
from tokens.scopes import ANY_TOKEN, Scope

FORMAT_OF_STYLE = {
    naming.WORDS: "random_words",
    naming.CHARACTERS: "random_characters",
    naming.UUID: "uuid",
}
# The addy.io whose calls these are: its apps ask for a version that they know.
ADDY_VERSION = (1, 6, 2)
# Where a person may use no domain: its apps stop at null.
NO_DOMAIN, NO_FORMAT = "", FORMAT_OF_STYLE[naming.WORDS]


class DomainOptions(ApiView):
    """`GET /api/v1/domain-options`: the domains that I may use, and what I prefer."""

    scope = Scope.CREATE

    def get(self, request: Request) -> Response:
        domains = list(Domain.objects.usable_by(self.caller).order_by("name"))
        choice = choose(self.caller) if domains else None
        return Response(
            {
                "data": [domain.name for domain in domains],
                # Where a chosen name gets an ending of ours: clients offer random names only there.
                "sharedDomains": [domain.name for domain in domains if needs_suffix(domain)],
                "defaultAliasDomain": choice.domain.name if choice else NO_DOMAIN,
                "defaultAliasFormat": FORMAT_OF_STYLE[choice.style] if choice else NO_FORMAT,
            }
        )


class TokenDetails(ApiView):
    """`GET /api/v1/api-token-details`: the token that this is called with."""

    scope = ANY_TOKEN

    def get(self, request: Request) -> Response:
        token = request.auth
        if not isinstance(token, Token):
            raise TypeError("the authentication gives a token")
        return Response(
            {
                "name": token.name,
                "created_at": stamp(token.created),
                "expires_at": stamp(token.expires),
                "scopes": token.rights.words,
            }
        )


class AccountDetails(ApiView):
    """`GET /api/v1/account-details`. What is not limited here has no limit: null.

    Its apps ask for this first, and start only if nothing that they know as a number or text is missing or
    null. What there is not here is none, of at most none.
    """

    scope = Scope.CREATE

    def get(self, request: Request) -> Response:
        user = self.caller
        present = Q(deleted_at=None)
        figures = Alias.objects.owned_by(user).aggregate(
            forwarded=Sum("forwards"),
            blocked=Sum("blocks"),
            replied=Sum("replies"),
            aliases=Count("pk", filter=present),
            active=Count("pk", filter=present & Q(enabled=True)),
            deleted=Count("pk", filter=~present),
            pinned=Count("pk", filter=present & Q(pinned=True)),
            shared=Count("pk", filter=present & Q(enabled=True) & NEEDS_SUFFIX),
        )
        addresses = list(EmailAddress.objects.filter(user=user).order_by("-primary", "-verified", "pk"))
        domains = Domain.objects.usable_by(user).count()
        choice = choose(user) if domains else None
        since = stamp(user.date_joined)
        account = {
            "id": str(public_id("user", user.pk)),
            "username": user.email,
            "disabled": False,
            "from_name": user.name or None,
            "email_subject": None,
            "banner_location": "off",
            "bandwidth": 0,
            "bandwidth_limit": 0,
            "username_count": 0,
            "username_limit": 0,
            "default_username_id": str(public_id("user", user.pk)),
            "default_recipient_id": str(public_id("recipient", addresses[0].pk)) if addresses else "",
            "default_alias_domain": choice.domain.name if choice else NO_DOMAIN,
            "default_alias_format": FORMAT_OF_STYLE[choice.style] if choice else NO_FORMAT,
            "subscription": None,
            "subscription_type": None,
            "subscription_ends_at": None,
            "recipient_count": sum(address.verified for address in addresses),
            "recipient_limit": None,
            "active_domain_count": domains,
            "active_domain_limit": None,
            "active_shared_domain_alias_count": figures["shared"],
            "active_shared_domain_alias_limit": None,
            "active_rule_count": 0,
            "active_rule_limit": 0,
            "total_emails_forwarded": (figures["forwarded"] or 0) if self.shows_activity else 0,
            "total_emails_blocked": (figures["blocked"] or 0) if self.shows_activity else 0,
            "total_emails_replied": (figures["replied"] or 0) if self.shows_activity else 0,
            "total_emails_sent": 0,
            "total_aliases": figures["aliases"],
            "total_active_aliases": figures["active"],
            "total_inactive_aliases": figures["aliases"] - figures["active"],
            "total_deleted_aliases": figures["deleted"],
            "total_pinned_aliases": figures["pinned"],
            "created_at": since,
            "updated_at": since,
        }
        return Response({"data": account})


class SignOut(ApiView):
    """`POST /api/auth/logout`: revokes the token that came with the request."""

    scope = ANY_TOKEN

    def post(self, request: Request) -> Response:
        if isinstance(request.auth, Token):
            request.auth.revoke()
        return Response(status=204)


class Recipients(ApiView):
    """`GET /api/v1/recipients`: own addresses."""

    scope = Scope.CREATE

    def get(self, request: Request) -> Response:
        query = read_query(request.META.get("QUERY_STRING", ""))
        rows = EmailAddress.objects.filter(user=self.caller)
        if verified := choice_of(query, "filter[verified]", ("true", "false")):
            rows = rows.filter(verified=verified == "true")
        present = Count("alias_links", filter=Q(alias_links__alias__deleted_at=None))
        rows = rows.annotate(number=present).order_by("-primary", "pk")
        return Response({"data": [recipient_object(row, self.caller, row.number) for row in rows]})


class OneRecipient(ApiView):
    """`GET /api/v1/recipients/:id`."""

    scope = Scope.CREATE

    def get(self, request: Request, uuid: UUID) -> Response:
        for row in EmailAddress.objects.filter(user=self.caller):
            if public_id("recipient", row.pk) == uuid:
                return Response({"data": recipient_object(row, self.caller)})
        raise NotFound(gettext("There is no such recipient."))


class AppVersion(ApiView):
    """`GET /api/v1/app-version`."""

    scope = ANY_TOKEN

    def get(self, request: Request) -> Response:
        major, minor, patch = ADDY_VERSION
        version = {"version": f"{major}.{minor}.{patch}", "major": major, "minor": minor, "patch": patch}
        return Response(version)
