"""What happened to an alias's mail, as SimpleLogin tells it."""

from collections.abc import Iterable
from typing import Any

from django.db.models import OuterRef, Subquery

from aliases.models import Alias
from mail.models import Activity, Deed

# SimpleLogin's words.
ACTION_OF_DEED = {Deed.FORWARD: "forward", Deed.BLOCK: "block", Deed.BOUNCE: "bounced"}


def latest_activities(aliases: Iterable[Alias]) -> dict[int, Activity]:
    """The latest activity of each alias that has any, by the alias's key; one statement for all."""
    latest = Activity.objects.filter(alias=OuterRef("pk")).order_by("-moment", "-pk").values("pk")[:1]
    keys = Alias.objects.filter(pk__in=[alias.pk for alias in aliases]).values(latest=Subquery(latest))
    return {activity.alias_id: activity for activity in Activity.objects.filter(pk__in=keys)}


def latest_activity_object(activity: Activity | None) -> dict[str, Any] | None:
    """An alias object's `latest_activity`. A contact has no reverse alias: there are none yet."""
    if activity is None:
        return None
    return {
        "timestamp": int(activity.moment.timestamp()),
        "action": ACTION_OF_DEED[Deed(activity.deed)],
        "contact": {"email": activity.sender, "name": None, "reverse_alias": ""},
    }


def activity_object(activity: Activity, alias: Alias) -> dict[str, Any]:
    """One row of `GET /api/aliases/:id/activities`."""
    return {
        "timestamp": int(activity.moment.timestamp()),
        "action": ACTION_OF_DEED[Deed(activity.deed)],
        "from": activity.sender,
        "to": alias.address,
        "reverse_alias": "",
        "reverse_alias_address": "",
    }
