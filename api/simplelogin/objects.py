"""Our rows as SimpleLogin's objects: exactly its keys, also for what there is not here."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict, cast

from allauth.account.models import EmailAddress
from django.utils.translation import gettext

from accounts.models import User
from aliases.models import Alias, AliasPreferences, SenderFormat
from api.listing import Destination, key_of
from api.schema import EXAMPLES, example_of
from api.simplelogin.activities import (
    LATEST,
    LatestActivity,
    LatestActivityObject,
    latest_activity_object,
    sample_activity,
)
from domains.models import AliasStyle, Domain
from mail.models import PausedDestination

Generator = Literal["word", "uuid"]
RandomSuffix = Literal["word", "random_string"]
SenderFormatWord = Literal["AT", "A", "NAME_ONLY", "AT_ONLY", "NO_NAME"]
# SimpleLogin has two settings for a style: `alias_generator` and `random_alias_suffix`.
SETTINGS_OF_STYLE: dict[AliasStyle, tuple[Generator, RandomSuffix]] = {
    AliasStyle.WORDS: ("word", "word"),
    AliasStyle.CHARACTERS: ("word", "random_string"),
    AliasStyle.UUID: ("uuid", "random_string"),
}


class MailboxObject(TypedDict):
    id: int
    email: str


def mailbox_object(address: EmailAddress | Destination) -> MailboxObject:
    return {"id": address.pk, "email": address.email}


class Creation(TypedDict):
    """A moment in UTC: `YYYY-MM-DD HH:MM:SS+00:00` and whole UNIX seconds."""

    creation_date: str
    creation_timestamp: int


def creation(moment: datetime) -> Creation:
    return {
        "creation_date": moment.isoformat(" ", "seconds"),
        "creation_timestamp": int(moment.timestamp()),
    }


class OldAliasObject(Creation):
    """An alias as in SimpleLogin's first version."""

    id: int
    email: str
    enabled: bool
    note: str | None
    nb_forward: int
    nb_block: int
    nb_reply: int


class AliasObject(OldAliasObject):
    name: str | None
    pinned: bool
    mailbox: MailboxObject | None
    mailboxes: list[MailboxObject]
    support_pgp: bool
    disable_pgp: bool
    latest_activity: LatestActivityObject | None


class NewAliasObject(AliasObject):
    alias: str


class ListedAlias(NamedTuple):
    """What a list shows of an Alias, by its names."""

    pk: int
    address: str
    name: str
    enabled: bool
    pinned: bool
    note: str
    created: datetime
    forwards: int
    blocks: int
    replies: int
    skips_encryption: bool
    destination_addresses: Sequence[Destination]


LISTED = ListedAlias._fields[:-1]
LISTED_WITH_ACTIVITY = (*LISTED, *(f"latest__{name}" for name in LATEST))


def listed_object(
    columns: Sequence[Any], destinations: Sequence[Destination], *, activity: bool, sender_format: str
) -> AliasObject:
    """An alias of a list, by its columns in LISTED, or in LISTED_WITH_ACTIVITY."""
    alias = ListedAlias._make((*columns[: len(LISTED)], destinations))
    latest = columns[len(LISTED) :]
    known = LatestActivity(*latest) if activity and latest[0] else None
    return alias_object(alias, known, activity=activity, sender_format=sender_format)


def alias_object(
    alias: Alias | ListedAlias,
    latest: LatestActivity | None = None,
    *,
    activity: bool = False,
    sender_format: str = SenderFormat.AT,
) -> AliasObject:
    """An alias, whose destinations should be loaded, with its latest activity.

    Without `activity` its figures are 0: the token may not read them.
    """
    mailboxes = [mailbox_object(address) for address in alias.destination_addresses]
    return {
        "id": alias.pk,
        "email": alias.address,
        "name": alias.name or None,
        "enabled": alias.enabled,
        "pinned": alias.pinned,
        "note": alias.note or None,
        **creation(alias.created),
        "nb_forward": alias.forwards if activity else 0,
        "nb_block": alias.blocks if activity else 0,
        "nb_reply": alias.replies if activity else 0,
        "mailbox": mailboxes[0] if mailboxes else None,
        "mailboxes": mailboxes,
        "support_pgp": any(key.is_used for key in map(key_of, alias.destination_addresses) if key),
        "disable_pgp": alias.skips_encryption,
        "latest_activity": latest_activity_object(latest, sender_format) if latest else None,
    }


def old_alias_object(alias: AliasObject) -> OldAliasObject:
    return {key: alias[key] for key in OldAliasObject.__annotations__}  # type: ignore[return-value,literal-required]


def new_alias_object(alias: Alias) -> NewAliasObject:
    return {"alias": alias.address, **alias_object(alias)}


class SuffixObject(TypedDict):
    """An ending that a chosen name may have."""

    suffix: str
    signed_suffix: str
    is_custom: bool
    is_premium: bool


def suffix_object(suffix: str, signed_suffix: str, *, is_custom: bool) -> SuffixObject:
    return {"suffix": suffix, "signed_suffix": signed_suffix, "is_custom": is_custom, "is_premium": False}


class RecommendationObject(TypedDict):
    """The alias that was last made for the site."""

    alias: str
    hostname: str


class BaseOptions(TypedDict):
    can_create: bool
    prefix_suggestion: str
    recommendation: NotRequired[RecommendationObject]


class OptionsObject(BaseOptions):
    suffixes: list[SuffixObject]


class OldOptionsObject(BaseOptions):
    """The same, each ending as the pair of it and its signed form."""

    suffixes: list[list[str]]


class FullMailboxObject(MailboxObject):
    verified: bool
    default: bool
    creation_timestamp: int
    nb_alias: int


def full_mailbox_object(address: EmailAddress, user: User, aliases: int) -> FullMailboxObject:
    """An own address. When it was added is not stored: the account's date is shown."""
    return {
        **mailbox_object(address),
        "verified": address.verified,
        "default": address.primary,
        "creation_timestamp": creation(user.date_joined)["creation_timestamp"],
        "nb_alias": aliases,
    }


class UserObject(TypedDict):
    name: str
    email: str
    is_premium: bool
    in_trial: bool
    trial_end_timestamp: int | None
    max_alias_free_plan: int
    connected_proton_address: str | None
    can_create_reverse_alias: bool
    profile_picture_url: str | None


def user_object(user: User) -> UserObject:
    return {
        "name": user.name,
        "email": user.email,
        # Clients offer some functions to paying users only.
        "is_premium": True,
        "in_trial": False,
        "trial_end_timestamp": None,
        "max_alias_free_plan": 0,
        "connected_proton_address": None,
        "can_create_reverse_alias": True,
        "profile_picture_url": None,
    }


class StatsObject(TypedDict):
    nb_alias: int
    nb_forward: int
    nb_reply: int
    nb_block: int


def stats_object(figures: dict[str, int]) -> StatsObject:
    return {
        "nb_alias": figures["aliases"],
        "nb_forward": figures["forwards"],
        "nb_reply": figures["replies"],
        "nb_block": figures["blocks"],
    }


class SettingObject(TypedDict):
    alias_generator: Generator
    notification: bool
    random_alias_default_domain: str
    sender_format: SenderFormatWord
    random_alias_suffix: RandomSuffix


def setting_object(preferences: AliasPreferences, domain: str) -> SettingObject:
    generator, suffix = SETTINGS_OF_STYLE[AliasStyle(preferences.style)]
    return {
        "alias_generator": generator,
        "notification": False,
        "random_alias_default_domain": domain,
        "sender_format": cast(SenderFormatWord, preferences.sender_format),
        "random_alias_suffix": suffix,
    }


class SettingDomainObject(TypedDict):
    domain: str
    is_custom: bool


def setting_domain_object(domain: Domain) -> SettingDomainObject:
    return {"domain": domain.name, "is_custom": False}


class CustomDomainObject(Creation):
    id: int
    domain_name: str
    is_verified: bool
    nb_alias: int
    catch_all: bool
    name: str | None
    random_prefix_generation: bool
    mailboxes: list[MailboxObject]


def custom_domain_object(
    domain: Domain, aliases: int, mailboxes: list[MailboxObject], *, catch_all: bool = False
) -> CustomDomainObject:
    return {
        "id": domain.pk,
        "domain_name": domain.name,
        "is_verified": True,
        "nb_alias": aliases,
        **creation(domain.created),
        "catch_all": catch_all,
        "name": None,
        "random_prefix_generation": False,
        "mailboxes": mailboxes,
    }


class NotificationObject(TypedDict):
    id: int
    title: str
    message: str
    read: bool
    created_at: str


def notification_object(paused: PausedDestination) -> NotificationObject:
    return {
        "id": paused.pk,
        "title": gettext("A destination is paused"),
        "message": gettext("%(address)s refused mail several times and is paused.")
        % {"address": paused.destination.email},
        "read": False,
        "created_at": paused.since.isoformat(timespec="seconds"),
    }


class ExportedAlias(TypedDict):
    email: str
    enabled: bool


class ExportObject(TypedDict):
    email: str
    name: str
    aliases: list[ExportedAlias]
    apps: list[str]
    custom_domains: list[str]


def export_object(user: User, aliases: Iterable[tuple[str, bool]]) -> ExportObject:
    return {
        "email": user.email,
        "name": user.name,
        "aliases": [{"email": email, "enabled": enabled} for email, enabled in aliases],
        "apps": [],
        # The domains are the server's; npm's simplelogin-client breaks on any text here.
        "custom_domains": [],
    }


# Rows for the schema's examples.
SINCE = datetime(2026, 11, 24, 12, tzinfo=UTC)


def sample_user() -> User:
    return User(name="Alice", email="alice@example.com", date_joined=SINCE)


def sample_address() -> EmailAddress:
    return EmailAddress(pk=1, email="alice@example.com", verified=True, primary=True)


def sample_alias() -> Alias:
    alias = Alias(pk=7, address="github.vendetta@example.com", created=SINCE, forwards=3)
    alias.note = "Website: www.github.com"
    alias.destination_addresses = [sample_address()]
    return alias


EXAMPLES |= {
    AliasObject: lambda: alias_object(sample_alias(), LatestActivity.of(sample_activity()), activity=True),
    OldAliasObject: lambda: old_alias_object(example_of(AliasObject)),
    NewAliasObject: lambda: new_alias_object(sample_alias()),
    SuffixObject: lambda: suffix_object(".word@example.com", ".word@example.com:1vN…:…", is_custom=False),
    OptionsObject: lambda: {
        "can_create": True,
        "prefix_suggestion": "github",
        "suffixes": [example_of(SuffixObject)],
    },
    OldOptionsObject: lambda: {
        "can_create": True,
        "prefix_suggestion": "",
        "suffixes": [["@example.com", "@example.com:1vN…:…"]],
    },
    FullMailboxObject: lambda: full_mailbox_object(sample_address(), sample_user(), 12),
    UserObject: lambda: user_object(sample_user()),
    StatsObject: lambda: stats_object({"aliases": 12, "forwards": 340, "replies": 0, "blocks": 5}),
    SettingObject: lambda: setting_object(AliasPreferences(), "example.com"),
    SettingDomainObject: lambda: setting_domain_object(Domain(name="example.com")),
    CustomDomainObject: lambda: custom_domain_object(
        Domain(pk=1, name="example.com", created=SINCE), 12, [mailbox_object(sample_address())]
    ),
    NotificationObject: lambda: notification_object(
        PausedDestination(destination=sample_address(), since=SINCE)
    ),
    ExportObject: lambda: export_object(sample_user(), [(sample_alias().address, True)]),
}
