"""What happened to an alias's mail, as SimpleLogin's objects."""

from datetime import UTC, datetime
from typing import Literal, NamedTuple, TypedDict

from django.db.models import FilteredRelation, OuterRef, Q, QuerySet, Subquery

from aliases.models import Alias, AliasQuerySet, SenderFormat
from api.schema import EXAMPLES
from contacts.models import Contact
from contacts.showing import reverse_alias
from mail.models import Activity, Event

Action = Literal["forward", "block", "bounced", "reply"]
ACTION_OF_EVENT: dict[Event, Action] = {
    Event.FORWARD: "forward",
    Event.BLOCK: "block",
    Event.BOUNCE: "bounced",
    Event.REPLY: "reply",
}


class CorrespondentObject(TypedDict):
    """Who wrote to an alias, or got a reply; without a reverse alias if that is no contact."""

    email: str
    name: str | None
    reverse_alias: str


class LatestActivityObject(TypedDict):
    timestamp: int
    action: Action
    contact: CorrespondentObject


class LatestActivity(NamedTuple):
    """What a list shows of an Activity, by the names of LATEST."""

    moment: datetime
    event: str
    sender: str
    name: str | None
    address: str | None
    reverse_address: str | None

    @classmethod
    def of(cls, activity: Activity) -> "LatestActivity":
        contact = activity.contact
        of_contact = (contact.name, contact.address, contact.reverse_address) if contact else (None,) * 3
        return cls(activity.moment, activity.event, activity.sender, *of_contact)

    def reverse_alias(self, sender_format: str) -> str:
        """What to write to; "" if the correspondent is no contact."""
        if not self.reverse_address:
            return ""
        return reverse_alias(sender_format, self.name or "", self.address or "", self.reverse_address)


LATEST = ("moment", "event", "sender", "contact__name", "contact__address", "contact__reverse_address")


def latest_activity_object(activity: LatestActivity, sender_format: str) -> LatestActivityObject:
    return {
        "timestamp": int(activity.moment.timestamp()),
        "action": ACTION_OF_EVENT[Event(activity.event)],
        "contact": {
            "email": activity.address or activity.sender,
            "name": activity.name or None,
            "reverse_alias": activity.reverse_alias(sender_format),
        },
    }


def latest_first(activities: QuerySet[Activity]) -> QuerySet[Activity]:
    """The activities, each with its contact."""
    return activities.select_related("contact").order_by("-moment", "-pk")


def with_latest_activity(aliases: AliasQuerySet) -> AliasQuerySet:
    """The same aliases with their latest activity as the relation `latest`."""
    keys = latest_first(Activity.objects.filter(alias=OuterRef("pk"))).values("pk")
    return aliases.annotate(
        latest=FilteredRelation("activities", condition=Q(activities__pk=Subquery(keys[:1])))
    )


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


def activity_object(row: Activity, alias: Alias, sender_format: str) -> ActivityObject:
    """One row of `GET /api/aliases/:id/activities`, its contact loaded."""
    activity = LatestActivity.of(row)
    parties = activity.address or activity.sender, alias.address
    sender, recipient = reversed(parties) if row.event == Event.REPLY else parties
    return {
        "timestamp": int(activity.moment.timestamp()),
        "action": ACTION_OF_EVENT[Event(activity.event)],
        "from": sender,
        "to": recipient,
        "reverse_alias": activity.reverse_alias(sender_format),
        "reverse_alias_address": activity.reverse_address or "",
    }


def sample_activity() -> Activity:
    contact = Contact(
        name="GitHub",
        address="noreply@github.com",
        reverse_address="r.mfrggzdfmztwq2lknnwg23tpob@example.com",
    )
    return Activity(
        event=Event.FORWARD,
        sender="noreply@github.com",
        contact=contact,
        moment=datetime(2026, 11, 24, 12, tzinfo=UTC),
    )


EXAMPLES[ActivityObject] = lambda: activity_object(
    sample_activity(), Alias(address="github.vendetta@example.com"), SenderFormat.AT
)
