"""The fields that addy.io's phone apps stop without, by their public sources (Android 6.2.1, iOS 2.3.5)."""

from typing import Any

ACCOUNT: dict[str, type] = {
    "id": str,
    "username": str,
    "banner_location": str,
    "bandwidth": int,
    "bandwidth_limit": int,
    "username_count": int,
    "username_limit": int,
    "default_username_id": str,
    "default_recipient_id": str,
    "default_alias_domain": str,
    "default_alias_format": str,
    "recipient_count": int,
    "active_domain_count": int,
    "active_shared_domain_alias_count": int,
    "active_rule_count": int,
    "total_emails_forwarded": int,
    "total_emails_blocked": int,
    "total_emails_replied": int,
    "total_emails_sent": int,
    "total_aliases": int,
    "total_active_aliases": int,
    "total_inactive_aliases": int,
    "total_deleted_aliases": int,
    "total_pinned_aliases": int,
    "created_at": str,
    "updated_at": str,
}
RECIPIENT: dict[str, type] = {
    "id": str,
    "user_id": str,
    "email": str,
    "can_reply_send": bool,
    "should_encrypt": bool,
    "inline_encryption": bool,
    "protected_headers": bool,
    "remove_pgp_keys": bool,
    "remove_pgp_signatures": bool,
    "created_at": str,
    "updated_at": str,
}
ALIAS: dict[str, type] = {
    "id": str,
    "user_id": str,
    "local_part": str,
    "domain": str,
    "email": str,
    "active": bool,
    "pinned": bool,
    "attached_recipients_only": bool,
    "emails_forwarded": int,
    "emails_blocked": int,
    "emails_replied": int,
    "emails_sent": int,
    "created_at": str,
    "updated_at": str,
}
FAILED: dict[str, type] = {
    "id": str,
    "user_id": str,
    "bounce_type": str,
    "remote_mta": str,
    "type": str,
    "email_type": str,
    "email_type_text": str,
    "status": str,
    "code": str,
    "is_stored": bool,
    "quarantined": bool,
    "resent": bool,
    "attempted_at": str,
    "created_at": str,
    "updated_at": str,
}
BLOCKED: dict[str, type] = {
    "id": str,
    "user_id": str,
    "value": str,
    "type": str,
    "created_at": str,
    "updated_at": str,
}
# What may be null, but nothing else.
NULLABLE: dict[str, dict[str, type]] = {
    "alias": {
        **dict.fromkeys(("aliasable_id", "aliasable_type", "extension", "description", "from_name"), str),
        **dict.fromkeys(("last_forwarded", "last_blocked", "last_replied", "last_sent", "deleted_at"), str),
    },
    "recipient": {"fingerprint": str, "email_verified_at": str, "aliases_count": int},
    "failed": dict.fromkeys(
        (
            "recipient_id",
            "recipient_email",
            "alias_id",
            "alias_email",
            "sender",
            "destination",
            "ir_dedupe_key",
        ),
        str,
    ),
    "blocked": {"blocked": int, "last_blocked": str},
}
META: dict[str, type] = {
    "current_page": int,
    "last_page": int,
    "links": list,
    "path": str,
    "per_page": int,
    "total": int,
}
OPTIONS: dict[str, type] = {
    "data": list,
    "sharedDomains": list,
    "defaultAliasDomain": str,
    "defaultAliasFormat": str,
}


def wrong(told: dict[str, Any], needed: dict[str, type]) -> dict[str, Any]:
    """The fields that are not of the kind that the apps read."""
    return {name: told.get(name) for name, kind in needed.items() if type(told.get(name)) is not kind}


def odd(told: dict[str, Any], what: str) -> dict[str, Any]:
    """The fields that may be null and are something else that the apps do not read."""
    kinds = NULLABLE[what]
    return {
        name: told[name]
        for name in kinds
        if told.get(name) is not None and type(told[name]) is not kinds[name]
    }
