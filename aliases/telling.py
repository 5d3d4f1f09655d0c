"""What web hooks are told of an alias."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from hooks.messages import Happened, tell
from hooks.models import HookEvent

if TYPE_CHECKING:
    from aliases.models import Alias


def tell_of(event: HookEvent, aliases: "Iterable[Alias]") -> None:
    """Tell those who hear of it (hooks.models.is_heard) that this has happened to these aliases.

    Call it in the transaction in which it happens.
    """
    tell_more(event, ((alias, {}) for alias in aliases))


def tell_more(event: HookEvent, told: "Iterable[tuple[Alias, dict[str, Any]]]") -> None:
    """The same, with what else is said of each alias."""
    happened = [
        Happened(alias.owner_id, {"alias": written(alias), **more})
        for alias, more in told
        if alias.owner_id is not None
    ]
    if happened:
        tell(event, happened)


def written(alias: "Alias") -> dict[str, Any]:
    """The alias as it stands in a message: `id` and `uuid` name it to the API."""
    return {"id": alias.pk, "uuid": str(alias.uuid), "address": alias.address}
