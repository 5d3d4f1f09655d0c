"""Our rows as addy.io's objects: exactly its keys, also for what there is not here."""

from datetime import UTC, datetime
from typing import Any

from allauth.account.models import EmailAddress
from django.db.models import Case, OuterRef, Q, Subquery, When

from accounts.models import User
from aliases.models import Alias, AliasQuerySet
from api.addy.ids import public_id
from mail.models import Activity, Deed


def stamp(moment: datetime | None) -> str | None:
    """A moment as addy.io writes it: `YYYY-MM-DD HH:MM:SS`, UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if moment else None


def with_last_mail(aliases: AliasQuerySet) -> AliasQuerySet:
    """The same aliases with the moments of their last forward and block, as far back as activity is kept."""

    def last(deed: Deed, is_any: Q) -> Case:
        rows = Activity.objects.filter(alias=OuterRef("pk"), deed=deed).order_by("-moment", "-pk")
        # Without the condition an alias that never blocked has all of its activity looked through.
        return Case(When(is_any, then=Subquery(rows.values("moment")[:1])))

    return aliases.annotate(
        last_forward=last(Deed.FORWARD, Q(forwards__gt=0)), last_block=last(Deed.BLOCK, Q(blocks__gt=0))
    )


NO_MAIL = {"last_forwarded": None, "last_blocked": None}


def last_mail(alias: Alias) -> dict[str, str | None]:
    """When mail was last forwarded and blocked; None where it never was, or that is not known any more."""
    forward, block = getattr(alias, "last_forward", None), getattr(alias, "last_block", None)
    # The alias's own last activity outlives the list of activities.
    if not block and not alias.blocks and not alias.replies:
        forward = forward or alias.last_activity
    if not forward and not alias.forwards and not alias.replies:
        block = block or alias.last_activity
    return {"last_forwarded": stamp(forward), "last_blocked": stamp(block)}


def alias_object(
    alias: Alias, owner: User, *, recipients: bool = True, activity: bool = False
) -> dict[str, Any]:
    """An alias as addy.io's; its destinations should be loaded where `recipients` are wanted.

    Without `activity` it is told as one that never had mail: the token may not read that.
    """
    local_part, _at, domain = alias.address.partition("@")
    active_at = alias.active_at if activity else alias.created
    changed = max(active_at, alias.deleted_at or active_at)
    answer: dict[str, Any] = {
        "id": str(alias.uuid),
        "user_id": str(public_id("user", owner.pk)),
        "aliasable_id": str(public_id("domain", alias.domain_id)),
        "aliasable_type": "App\\Models\\Domain",
        "local_part": local_part,
        "extension": None,
        "domain": domain,
        "email": alias.address,
        "active": alias.enabled and not alias.is_deleted,
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
        "updated_at": stamp(changed),
        "deleted_at": stamp(alias.deleted_at),
    }
    if recipients:
        answer["recipients"] = [recipient_object(address, owner) for address in alias.destination_addresses]
    return answer


def recipient_object(address: EmailAddress, owner: User, aliases_count: int | None = None) -> dict[str, Any]:
    """An own address as addy.io's recipient. When it was added is not kept: the account's beginning."""
    since = stamp(owner.date_joined)
    answer: dict[str, Any] = {
        "id": str(public_id("recipient", address.pk)),
        "user_id": str(public_id("user", owner.pk)),
        "email": address.email,
        "can_reply_send": False,
        "should_encrypt": False,
        "inline_encryption": False,
        "protected_headers": False,
        "remove_pgp_keys": False,
        "remove_pgp_signatures": False,
        "fingerprint": None,
        "email_verified_at": since if address.verified else None,
        "aliases": [],
        "created_at": since,
        "updated_at": since,
    }
    if aliases_count is not None:
        answer["aliases_count"] = aliases_count
    return answer
