"""What web hooks are told of deliveries that fail: no sender, and none of another server's words."""

from aliases.models import Alias
from aliases.telling import tell_more
from hooks.models import HookEvent
from mail.models import STATUS_MAX


def tell_of_failure(alias_id: int, destination_id: int | None, status: str) -> None:
    """Tell those who hear of it that mail to the alias was refused by a destination, or came back from there;
    without one, that a reply from the alias came back. `status`: RFC 3463's, "" if unknown.

    Call it in the transaction in which that is recorded.
    """
    failure = {
        "kind": "reply" if destination_id is None else "forward",
        "destination": None if destination_id is None else {"id": destination_id},
        "status": status[:STATUS_MAX] or None,
    }
    tell_more(
        HookEvent.DELIVERY_FAILED,
        ((alias, {"failure": failure}) for alias in Alias.objects.filter(pk=alias_id)),
    )
