"""Our rows as SimpleLogin's objects: exactly its keys, also for what there is not here."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal, TypedDict

from allauth.account.models import EmailAddress
from django.db.models import OuterRef, Subquery

from aliases.models import Alias
from api.schema import EXAMPLES
from mail.models import Activity, Event

Action = Literal["forward", "block", "bounced"]
ACTION_OF_EVENT: dict[Event, Action] = {
    Event.FORWARD: "forward",
    Event.BLOCK: "block",
    Event.BOUNCE: "bounced",
}


class MailboxObject(TypedDict):
    """A destination, in short."""

    id: int
    email: str


def mailbox_object(address: EmailAddress) -> MailboxObject:
    return {"id": address.pk, "email": address.email}


class Creation(TypedDict):
    """A moment: `YYYY-MM-DD HH:MM:SS+00:00` and whole UNIX seconds."""

    creation_date: str
    creation_timestamp: int


def creation(moment: datetime) -> Creation:
    return {
        "creation_date": moment.strftime("%Y-%m-%d %H:%M:%S+00:00"),
        "creation_timestamp": int(moment.timestamp()),
    }


class ContactObject(TypedDict):
    """Who wrote to an alias. There are no reverse aliases yet."""

    email: str
    name: str | None
    reverse_alias: str


class LatestActivityObject(TypedDict):
    timestamp: int
    action: Action
    contact: ContactObject


def latest_activity_object(activity: Activity) -> LatestActivityObject:
    return {
        "timestamp": int(activity.moment.timestamp()),
        "action": ACTION_OF_EVENT[Event(activity.event)],
        "contact": {"email": activity.sender, "name": None, "reverse_alias": ""},
    }


def latest_activities(aliases: Iterable[Alias]) -> dict[int, Activity]:
    """The latest activity of each alias that has any, by the alias's key; one statement for all."""
    latest = Activity.objects.filter(alias=OuterRef("pk")).order_by("-moment", "-pk").values("pk")[:1]
    keys = Alias.objects.filter(pk__in=[alias.pk for alias in aliases]).values(latest=Subquery(latest))
    return {activity.alias_id: activity for activity in Activity.objects.filter(pk__in=keys)}


# "from" cannot be written as a class's field.
ActivityObject = TypedDict(
    "ActivityObject",
    {
        "timestamp": int,
        "action": Action,
        "from": str,
        "to": str,
        "reverse_alias": str,
        "reverse_alias_address": str,
    },
)


def activity_object(activity: Activity, alias: Alias) -> ActivityObject:
    """One row of `GET /api/aliases/:id/activities`."""
    return {
        "timestamp": int(activity.moment.timestamp()),
        "action": ACTION_OF_EVENT[Event(activity.event)],
        "from": activity.sender,
        "to": alias.address,
        "reverse_alias": "",
        "reverse_alias_address": "",
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
    """An alias as in SimpleLogin's second version."""

    name: str | None
    pinned: bool
    mailbox: MailboxObject | None
    mailboxes: list[MailboxObject]
    support_pgp: bool
    disable_pgp: bool
    latest_activity: LatestActivityObject | None


class NewAliasObject(AliasObject):
    """An alias that was just made."""

    alias: str


def alias_object(alias: Alias, latest: Activity | None = None, *, activity: bool = False) -> AliasObject:
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
        "support_pgp": False,
        "disable_pgp": False,
        "latest_activity": latest_activity_object(latest) if latest else None,
    }


def new_alias_object(alias: Alias) -> NewAliasObject:
    return {"alias": alias.address, **alias_object(alias)}


SINCE = datetime(2026, 11, 24, 12, tzinfo=UTC)


def sample_alias() -> Alias:
    """The alias of the schema's examples."""
    alias = Alias(pk=7, address="github.vendetta@example.com", created=SINCE, forwards=3)
    alias.note = "Website: www.github.com"
    alias.destination_addresses = [EmailAddress(pk=1, email="alice@example.com")]
    return alias


EXAMPLES |= {
    AliasObject: lambda: alias_object(sample_alias(), activity=True),
    NewAliasObject: lambda: new_alias_object(sample_alias()),
}
