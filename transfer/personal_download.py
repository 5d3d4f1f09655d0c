"""All that is kept about one person, for that person to take away."""

from collections.abc import Iterator
from typing import Any

from allauth.usersessions.models import UserSession
from django.utils import timezone

from accounts.models import AddressChange, User
from aliases.models import Alias, AliasExpiry, AliasPreferences
from core.spreadsheets import csv_lines
from domains.models import AccessGrant
from tokens.models import Token

ALIAS_COLUMNS = (
    "address",
    "enabled",
    "pinned",
    "note",
    "name",
    "hostname",
    "destinations",
    "forwards",
    "blocks",
    "replies",
    "created",
    "last_activity",
    "deleted",
    "expires_at",
    "idle_days",
    "unused_days",
)


def alias_row(alias: Alias) -> dict[str, Any]:
    """An alias as a flat row; dates in ISO 8601, destinations separated by spaces."""
    expiry = getattr(alias, "expiry", None)
    if expiry is None or expiry.expired_at:
        # What has ended does so no more once it is enabled again.
        expiry = AliasExpiry()
    # A day that is over, on an alias that was off by then, ends nothing, and no import takes it.
    day = expiry.expires_at if expiry.expires_at and expiry.expires_at > timezone.now() else None
    return {
        "address": alias.address,
        "enabled": alias.enabled,
        "pinned": alias.pinned,
        "note": alias.note,
        "name": alias.name,
        "hostname": alias.hostname,
        "destinations": " ".join(address.email for address in alias.destination_addresses),
        "forwards": alias.forwards,
        "blocks": alias.blocks,
        "replies": alias.replies,
        "created": alias.created.isoformat(),
        "last_activity": alias.last_activity.isoformat() if alias.last_activity else "",
        "deleted": alias.deleted_at.isoformat() if alias.deleted_at else "",
        "expires_at": day.isoformat() if day else "",
        "idle_days": expiry.idle_days or "",
        "unused_days": expiry.unused_days or "",
    }


def alias_rows(user: User) -> Iterator[dict[str, Any]]:
    """Every alias of `user`, the deleted ones included, the oldest first."""
    aliases = Alias.objects.owned_by(user).select_related("expiry").with_destinations().order_by("pk")
    return (alias_row(alias) for alias in aliases.iterator(chunk_size=1000))


def aliases_csv(user: User) -> Iterator[str]:
    """The aliases as the lines of a CSV file."""
    return csv_lines(ALIAS_COLUMNS, (row.values() for row in alias_rows(user)))


def everything(user: User) -> dict[str, Any]:
    """A document for `json.dump`: the account and all that belongs to it. No secret is in it."""
    preferences = AliasPreferences.objects.filter(user=user).select_related("default_domain").first()
    return {
        "account": {
            "email": user.email,
            "name": user.name,
            "created": user.date_joined.isoformat(),
            "last_sign_in": user.last_login.isoformat() if user.last_login else None,
            "is_global_admin": user.is_superuser,
            "manages": [domain.name for domain in user.managed_domains.all()],
        },
        "addresses": [
            {
                "email": row.email,
                "verified": row.verified,
                "primary": row.primary,
                "receives_only": hasattr(row, "destination_only"),
            }
            for row in user.emailaddress_set.select_related("destination_only").order_by("pk")
        ],
        "address_changes": [
            {"address": row.address, "kind": row.kind, "at": row.at.isoformat(), "by_api": row.by_api}
            for row in AddressChange.objects.owned_by(user)
        ],
        "preferences": {
            "default_domain": preferences.default_domain.name
            if preferences and preferences.default_domain
            else None,
            "style": preferences.style if preferences else None,
            "idle_days": preferences.idle_days if preferences else None,
            "unused_days": preferences.unused_days if preferences else None,
        },
        "second_factors": [
            {"type": factor.type, "created": factor.created_at.isoformat()}
            for factor in user.authenticator_set.order_by("pk")
        ],
        "sessions": [
            {"ip": str(row.ip), "user_agent": row.user_agent, "created": row.created_at.isoformat()}
            for row in UserSession.objects.filter(user=user).order_by("pk")
        ],
        "grants": [
            {"domain": grant.domain.name, "created": grant.created.isoformat()}
            for grant in AccessGrant.objects.filter(user=user).select_related("domain").order_by("pk")
        ],
        "tokens": [
            {
                "name": token.name,
                "scopes": token.rights.words,
                "created": token.created.isoformat(),
                "last_used": token.last_used.isoformat() if token.last_used else None,
                "expires": token.expires.isoformat() if token.expires else None,
                "networks": token.networks,
            }
            for token in Token.objects.owned_by(user).order_by("pk")
        ],
        "aliases": list(alias_rows(user)),
    }
