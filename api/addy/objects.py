"""Our rows as addy.io's objects: exactly its keys, also for what does not exist here."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypedDict, cast
from uuid import UUID

from allauth.account.models import EmailAddress
from django.db.models import Case, OuterRef, Q, Subquery, When

from accounts.models import User
from aliases.models import Alias, AliasQuerySet
from api.addy.ids import public_id
from api.addy.inputs import EXAMPLE_ID
from api.listing import Destination, key_of
from api.schema import EXAMPLES
from domains.models import Domain
from mail.models import Activity, Event


def stamp(moment: datetime) -> str:
    """A moment as addy.io writes it: `YYYY-MM-DD HH:MM:SS`, UTC."""
    return moment.astimezone(UTC).isoformat(" ", "seconds")[:19]


def stamp_or_null(moment: datetime | None) -> str | None:
    """The same; None for None."""
    return stamp(moment) if moment else None


class RecipientObject(TypedDict):
    id: UUID
    user_id: UUID
    email: str
    can_reply_send: bool
    should_encrypt: bool
    inline_encryption: bool
    protected_headers: bool
    remove_pgp_keys: bool
    remove_pgp_signatures: bool
    fingerprint: str | None
    email_verified_at: str | None
    aliases: list[dict[str, Any]]
    created_at: str
    updated_at: str


def recipient_object(address: EmailAddress | Destination, owner: User) -> RecipientObject:
    """An owner's address. When it was added is not stored: the account's creation stands in for it."""
    since, key = stamp(owner.date_joined), key_of(address)
    return {
        "id": public_id("recipient", address.pk),
        "user_id": public_id("user", owner.pk),
        "email": address.email,
        "can_reply_send": address.verified,
        "should_encrypt": key is not None and key.is_used,
        "inline_encryption": False,
        "protected_headers": key is not None and key.hides_subject,
        "remove_pgp_keys": False,
        "remove_pgp_signatures": False,
        "fingerprint": key.fingerprint.upper() if key else None,
        "email_verified_at": since if address.verified else None,
        "aliases": [],
        "created_at": since,
        "updated_at": since,
    }


class CountedRecipientObject(RecipientObject):
    aliases_count: int


def counted_recipient_object(address: Any, owner: User) -> CountedRecipientObject:
    """The same, with the `number` of aliases that api.addy.recipients.counted has found."""
    return {**recipient_object(address, owner), "aliases_count": address.number}


class ListedAlias(NamedTuple):
    """What a list shows of an Alias, by its names; what `with_last_mail` adds, is None without it."""

    pk: int
    uuid: UUID
    address: str
    domain_id: int
    enabled: bool
    pinned: bool
    note: str
    name: str
    forwards: int
    blocks: int
    replies: int
    created: datetime
    active_at: datetime
    deleted_at: datetime | None
    last_forward: datetime | None = None
    last_block: datetime | None = None

    is_deleted = Alias.is_deleted  # type: ignore[misc]
    last_activity = Alias.last_activity  # type: ignore[misc]


LISTED = ListedAlias._fields[:-2]
LISTED_WITH_MAIL = ListedAlias._fields


class LastMail(TypedDict):
    """When mail was last forwarded and blocked; null if never, or if that is no longer known."""

    last_forwarded: str | None
    last_blocked: str | None


NO_MAIL: LastMail = {"last_forwarded": None, "last_blocked": None}


def with_last_mail(aliases: AliasQuerySet) -> AliasQuerySet:
    """The same aliases with the times of their last forward and block, as far back as activity is kept."""

    def last(event: Event, is_any: Q) -> Case:
        rows = Activity.objects.filter(alias=OuterRef("pk"), event=event).order_by("-moment", "-pk")
        # Without the condition, all activity of an alias that never blocked would be searched.
        return Case(When(is_any, then=Subquery(rows.values("moment")[:1])))

    return aliases.annotate(
        last_forward=last(Event.FORWARD, Q(forwards__gt=0)), last_block=last(Event.BLOCK, Q(blocks__gt=0))
    )


def last_mail(alias: Alias | ListedAlias) -> LastMail:
    """What `with_last_mail` found, or else the alias's own last activity, which is kept longer."""
    forward, block = getattr(alias, "last_forward", None), getattr(alias, "last_block", None)
    if not block and not alias.blocks and not alias.replies:
        forward = forward or alias.last_activity
    if not forward and not alias.forwards and not alias.replies:
        block = block or alias.last_activity
    return {"last_forwarded": stamp_or_null(forward), "last_blocked": stamp_or_null(block)}


class BareAliasObject(LastMail):
    id: UUID
    user_id: UUID
    aliasable_id: UUID
    aliasable_type: str
    local_part: str
    extension: str | None
    domain: str
    email: str
    active: bool
    pinned: bool
    description: str | None
    from_name: str | None
    attached_recipients_only: bool
    emails_forwarded: int
    emails_blocked: int
    emails_replied: int
    emails_sent: int
    last_replied: str | None
    last_sent: str | None
    created_at: str
    updated_at: str
    deleted_at: str | None


class AliasObject(BareAliasObject):
    recipients: list[RecipientObject]


def listed_object(
    columns: Sequence[Any], recipients: list[RecipientObject], owner: User, *, activity: bool
) -> AliasObject:
    """An alias of a list, by its columns in LISTED, or in LISTED_WITH_MAIL."""
    return with_recipients(bare_alias_object(ListedAlias(*columns), owner, activity=activity), recipients)


def with_recipients(alias: BareAliasObject, recipients: list[RecipientObject]) -> AliasObject:
    """The same object, which is nobody else's, with its recipients."""
    found = cast(AliasObject, alias)
    found["recipients"] = recipients
    return found


def bare_alias_object(alias: Alias | ListedAlias, owner: User, *, activity: bool) -> BareAliasObject:
    """An owner's alias.

    Without `activity`, which the token may not read, it looks as if it never had any mail.
    """
    local_part, _at, domain = alias.address.partition("@")
    active_at = alias.active_at if activity else alias.created
    deleted_at = alias.deleted_at
    return {
        "id": alias.uuid,
        "user_id": public_id("user", owner.pk),
        "aliasable_id": public_id("domain", alias.domain_id),
        "aliasable_type": "App\\Models\\Domain",
        "local_part": local_part,
        "extension": None,
        "domain": domain,
        "email": alias.address,
        "active": alias.enabled and deleted_at is None,
        "pinned": alias.pinned,
        "description": alias.note or None,
        "from_name": alias.name or None,
        "attached_recipients_only": False,
        "emails_forwarded": alias.forwards if activity else 0,
        "emails_blocked": alias.blocks if activity else 0,
        "emails_replied": alias.replies if activity else 0,
        "emails_sent": 0,
        **(last_mail(alias) if activity else NO_MAIL),
        "last_replied": None,
        "last_sent": None,
        "created_at": stamp(alias.created),
        "updated_at": stamp(max(active_at, deleted_at) if deleted_at else active_at),
        "deleted_at": stamp_or_null(deleted_at),
    }


def alias_object(alias: Alias, owner: User, *, activity: bool = False) -> AliasObject:
    """The same with its recipients, which should be loaded."""
    recipients = [recipient_object(address, owner) for address in alias.destination_addresses]
    return with_recipients(bare_alias_object(alias, owner, activity=activity), recipients)


# The examples of the schema: rows without a key, whose ids nobody has.
SINCE = datetime(2026, 11, 24, 12, tzinfo=UTC)


def example_user() -> User:
    return User(pk=0, email="alice@example.com", name="Alice", date_joined=SINCE)


def example_address() -> EmailAddress:
    return EmailAddress(pk=0, email="alice@example.com", verified=True)


def example_alias() -> Alias:
    alias = Alias(
        uuid=EXAMPLE_ID, address="github.vendetta@example.com", domain=Domain(pk=0, name="example.com")
    )
    alias.note = "Website: github.com. Generated by Bitwarden."
    alias.created = alias.active_at = SINCE
    alias.forwards = 3
    alias.destination_addresses = [example_address()]
    return alias


EXAMPLES |= {
    RecipientObject: lambda: recipient_object(example_address(), example_user()),
    CountedRecipientObject: lambda: {
        **recipient_object(example_address(), example_user()),
        "aliases_count": 12,
    },
    AliasObject: lambda: alias_object(example_alias(), example_user(), activity=True),
    BareAliasObject: lambda: bare_alias_object(example_alias(), example_user(), activity=True),
}
