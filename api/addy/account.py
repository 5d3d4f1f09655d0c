"""addy.io's calls about an account: its domains, its token, its figures."""

from collections.abc import Sequence
from typing import Any, Literal, TypedDict, cast
from uuid import UUID

from allauth.account.models import EmailAddress
from django.conf import settings
from django.db.models import Count, OuterRef, Q, Subquery, Sum
from django.db.models.functions import Coalesce
from rest_framework.request import Request

from accounts.models import User
from aliases import naming
from aliases.choosing import Choice, choose
from aliases.issuing import NEEDS_SUFFIX, needs_suffix
from aliases.models import Alias, AliasPreferences, NameSpace, NameSpaceQuerySet
from api.addy import objects
from api.addy.ids import public_id
from api.addy.schema import AddyCall
from api.answers import Answer
from api.schema import EXAMPLES
from api.views import ApiView
from domains.models import Domain
from rules.models import RULES_MAX
from tokens.models import Token
from tokens.scopes import ANY_TOKEN, Scope

FORMAT_OF_STYLE = {naming.WORDS: "random_words", naming.CHARACTERS: "random_characters", naming.UUID: "uuid"}
# The addy.io whose calls these are: its apps ask for a version that they know.
ADDY_VERSION = (1, 6, 2)


class OptionsObject(TypedDict):
    data: list[str]
    sharedDomains: list[str]
    defaultAliasDomain: str
    defaultAliasFormat: str


def options_object(domains: Sequence[Domain], choice: Choice | None) -> OptionsObject:
    """The domains that somebody may use, and the preferred one; none has "": addy.io's apps stop at null."""
    return {
        "data": [domain.name for domain in domains],
        # Where a chosen name gets an ending of ours: clients offer only random names there.
        "sharedDomains": [domain.name for domain in domains if needs_suffix(domain)],
        "defaultAliasDomain": choice.domain.name if choice else "",
        "defaultAliasFormat": FORMAT_OF_STYLE[choice.preferences.style if choice else naming.WORDS],
    }


Right = Literal["create", "manage", "activity", "send"]


class TokenObject(TypedDict):
    name: str
    created_at: str
    expires_at: str | None
    scopes: list[Right]


def token_object(token: Token) -> TokenObject:
    return {
        "name": token.name,
        "created_at": objects.stamp(token.created),
        "expires_at": objects.stamp_or_null(token.expires),
        "scopes": cast("list[Right]", token.rights.words),
    }


class AccountObject(TypedDict):
    id: UUID
    username: str
    disabled: bool
    from_name: str | None
    email_subject: str | None
    banner_location: str
    bandwidth: int
    bandwidth_limit: int
    username_count: int
    username_limit: int
    default_username_id: UUID
    default_recipient_id: str
    default_alias_domain: str
    default_alias_format: str
    subscription: str | None
    subscription_type: str | None
    subscription_ends_at: str | None
    recipient_count: int
    recipient_limit: int
    active_domain_count: int
    active_domain_limit: int
    active_shared_domain_alias_count: int
    active_shared_domain_alias_limit: int | None
    active_rule_count: int
    active_rule_limit: int
    total_emails_forwarded: int
    total_emails_blocked: int
    total_emails_replied: int
    total_emails_sent: int
    total_aliases: int
    total_active_aliases: int
    total_inactive_aliases: int
    total_deleted_aliases: int
    total_pinned_aliases: int
    created_at: str
    updated_at: str


def alias_figures(user: User, *, activity: bool) -> dict[str, int]:
    """How many aliases the user has, by state, and their mail; without `activity` no mail."""
    present = Q(deleted_at=None)
    figures = Alias.objects.owned_by(user).aggregate(
        forwards=Sum("forwards"),
        blocks=Sum("blocks"),
        replies=Sum("replies"),
        present=Count("pk", filter=present),
        active=Count("pk", filter=present & Q(enabled=True)),
        deleted=Count("pk", filter=~present),
        pinned=Count("pk", filter=present & Q(pinned=True)),
        shared=Count("pk", filter=present & Q(enabled=True) & NEEDS_SUFFIX),
    )
    mail = {} if activity else dict.fromkeys(("forwards", "blocks", "replies"), 0)
    return {name: number or 0 for name, number in {**figures, **mail}.items()}


def account_object(
    user: User, addresses: Sequence[Any], options: OptionsObject, figures: dict[str, int]
) -> AccountObject:
    """An account with its addresses, the default one first, which say how many rules are on (`rules_on`) and
    off (`rules_off`), and how many name spaces of a whole domain and with a suffix there are (`domain_count`,
    `suffix_count`).

    Beyond a limit, something is refused: domains are added by admins alone, and rules that are off count as
    well. What has no limit for all of the account (a domain may have one of its own) is null.

    addy.io's apps start only if everything that they know as a number or text is there, and not null. What
    does not exist here is 0, of at most 0.
    """
    rules, rules_off = (addresses[0].rules_on, addresses[0].rules_off) if addresses else (0, 0)
    since = objects.stamp(user.date_joined)
    suffixes = addresses[0].suffix_count if addresses else 0
    domains = addresses[0].domain_count if addresses else 0
    return {
        "id": public_id("user", user.pk),
        "username": user.email,
        "disabled": False,
        "from_name": user.name or None,
        "email_subject": None,
        "banner_location": "off",
        "bandwidth": 0,
        "bandwidth_limit": 0,
        "username_count": suffixes,
        # The app offers no further one.
        "username_limit": suffixes,
        "default_username_id": public_id("user", user.pk),
        "default_recipient_id": str(public_id("recipient", addresses[0].pk)) if addresses else "",
        "default_alias_domain": options["defaultAliasDomain"],
        "default_alias_format": options["defaultAliasFormat"],
        "subscription": None,
        "subscription_type": None,
        "subscription_ends_at": None,
        "recipient_count": len(addresses),
        "recipient_limit": settings.ACCOUNT_MAX_EMAIL_ADDRESSES,
        "active_domain_count": domains,
        "active_domain_limit": domains,
        "active_shared_domain_alias_count": figures["shared"],
        "active_shared_domain_alias_limit": None,
        "active_rule_count": rules,
        "active_rule_limit": RULES_MAX - rules_off,
        "total_emails_forwarded": figures["forwards"],
        "total_emails_blocked": figures["blocks"],
        "total_emails_replied": figures["replies"],
        "total_emails_sent": 0,
        "total_aliases": figures["present"],
        "total_active_aliases": figures["active"],
        "total_inactive_aliases": figures["present"] - figures["active"],
        "total_deleted_aliases": figures["deleted"],
        "total_pinned_aliases": figures["pinned"],
        "created_at": since,
        "updated_at": since,
    }


class VersionObject(TypedDict):
    version: str
    major: int
    minor: int
    patch: int


def version_object() -> VersionObject:
    major, minor, patch = ADDY_VERSION
    return {"version": f"{major}.{minor}.{patch}", "major": major, "minor": minor, "patch": patch}


def example_options() -> OptionsObject:
    domain = Domain(name="example.com")
    return options_object([domain], Choice(domain, AliasPreferences(style=naming.WORDS)))


def _with_rules(address: Any) -> Any:
    address.rules_on, address.rules_off, address.domain_count, address.suffix_count = 2, 0, 1, 0
    return address


EXAMPLES |= {
    OptionsObject: example_options,
    TokenObject: lambda: token_object(Token(name="Bitwarden", created=objects.SINCE, scopes=Scope.CREATE)),
    AccountObject: lambda: account_object(
        objects.example_user(),
        [_with_rules(objects.example_address())],
        example_options(),
        {"forwards": 3, "present": 1, "active": 1}
        | dict.fromkeys(("blocks", "replies", "deleted", "pinned", "shared"), 0),
    ),
    VersionObject: version_object,
}


class AccountView(ApiView):
    scope = Scope.CREATE

    def options_of_caller(self) -> OptionsObject:
        domains = list(Domain.objects.usable_by(self.caller).order_by("name"))
        return options_object(domains, choose(self.caller) if domains else None)


class DomainOptions(AccountView):
    @AddyCall("The domains that you may use, and what you prefer", OptionsObject)
    def get(self, request: Request) -> Answer:
        return Answer(self.options_of_caller())


class TokenDetails(ApiView):
    scope = ANY_TOKEN

    @AddyCall("The token that this is called with", TokenObject)
    def get(self, request: Request) -> Answer:
        return Answer(token_object(self.token))


def _number_of(spaces: NameSpaceQuerySet) -> Coalesce:
    number = spaces.values("owner").annotate(number=Count("pk")).values("number")
    return Coalesce(Subquery(number), 0)


class AccountDetails(AccountView):
    @AddyCall("Your account and its figures", {"data": AccountObject})
    def get(self, request: Request) -> Answer:
        user = self.caller
        spaces = NameSpace.objects.filter(owner=OuterRef("user")).order_by()
        with_counts = EmailAddress.objects.annotate(
            rules_on=Count("user__rules", filter=Q(user__rules__is_on=True)),
            rules_off=Count("user__rules", filter=Q(user__rules__is_on=False)),
            domain_count=_number_of(spaces.of_whole_domains()),
            suffix_count=_number_of(spaces.with_suffix()),
        )
        addresses = list(with_counts.filter(user=user).order_by("-primary", "-verified", "pk"))
        figures = alias_figures(user, activity=self.shows_activity)
        return Answer({"data": account_object(user, addresses, self.options_of_caller(), figures)})


class SignOut(ApiView):
    scope = ANY_TOKEN

    @AddyCall("Revoke the token that this is called with (addy.io's apps)", status=204)
    def post(self, request: Request) -> Answer:
        self.token.revoke()
        return Answer(status=204)


class AppVersion(ApiView):
    scope = ANY_TOKEN

    @AddyCall("The version of addy.io whose calls these are", VersionObject)
    def get(self, request: Request) -> Answer:
        return Answer(version_object())
