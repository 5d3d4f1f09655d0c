"""What addy.io's apps for Android and iOS read of each answer: the fields that one of them knows, and of
which kind each is.

From the data classes in their public sources (Android 6.2.1, iOS 2.3.5). A kind is a type, a model, a list of
one, or a question about the value; a field whose name ends with `?` may be null or absent in both.
"""

import re
from typing import Any

Model = dict[str, Any]
# Which fields are moments, and the one form in which Android reads them.
_IS_MOMENT = re.compile(r"\w+_at|last_(forwarded|blocked|replied|sent|applied)")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")

RECIPIENT: Model = {
    **dict.fromkeys(("id", "user_id", "email", "created_at", "updated_at"), str),
    **dict.fromkeys(("can_reply_send", "should_encrypt", "inline_encryption", "protected_headers"), bool),
    **dict.fromkeys(("remove_pgp_keys", "remove_pgp_signatures"), bool),
    **dict.fromkeys(("fingerprint?", "email_verified_at?", "description?"), str),
    "aliases_count?": int,
}
ALIAS: Model = {
    **dict.fromkeys(("id", "user_id", "local_part", "domain", "email", "created_at", "updated_at"), str),
    **dict.fromkeys(("active", "pinned", "attached_recipients_only"), bool),
    **dict.fromkeys(("emails_forwarded", "emails_blocked", "emails_replied", "emails_sent"), int),
    **dict.fromkeys(("aliasable_id?", "aliasable_type?", "extension?", "description?", "from_name?"), str),
    **dict.fromkeys(("last_forwarded?", "last_blocked?", "last_replied?", "last_sent?", "deleted_at?"), str),
    "recipients?": [RECIPIENT],
}
LINKS: Model = dict.fromkeys(("first?", "last?", "prev?", "next?"), str)
META: Model = {
    **dict.fromkeys(("current_page", "last_page", "per_page", "total", "from?", "to?"), int),
    "path": str,
    "links": [{"url?": str, "label": str, "active": bool}],
}
SPACE: Model = {
    **dict.fromkeys(("id", "user_id", "created_at", "updated_at"), str),
    **dict.fromkeys(("active", "catch_all"), bool),
    **dict.fromkeys(("description?", "from_name?", "auto_create_regex?"), str),
    "aliases_count?": int,
    "default_recipient?": RECIPIENT,
}
DOMAIN: Model = {
    **SPACE,
    "domain": str,
    **dict.fromkeys(("domain_verified_at?", "domain_mx_validated_at?", "domain_sending_verified_at?"), str),
}
USERNAME: Model = {**SPACE, "username": str, "can_login": bool}
FAILED: Model = {
    **dict.fromkeys(("id", "user_id", "bounce_type", "remote_mta", "type", "email_type"), str),
    **dict.fromkeys(("email_type_text", "status", "code", "attempted_at", "created_at", "updated_at"), str),
    **dict.fromkeys(("is_stored", "quarantined", "resent"), bool),
    **dict.fromkeys(("recipient_id?", "recipient_email?", "alias_id?", "alias_email?"), str),
    **dict.fromkeys(("sender?", "destination?", "ir_dedupe_key?"), str),
}
BLOCKED: Model = {
    **dict.fromkeys(("id", "user_id", "value", "type", "created_at", "updated_at"), str),
    "blocked?": int,
    "last_blocked?": str,
}


def _value_of_action(value: object) -> bool:
    """Android reads a text from anything that is no object; iOS, a text or true and false."""
    return isinstance(value, str | bool)


RULE: Model = {
    **dict.fromkeys(("id", "user_id", "name", "operator", "created_at", "updated_at"), str),
    **dict.fromkeys(("order", "applied"), int),
    **dict.fromkeys(("forwards", "replies", "sends", "active"), bool),
    "last_applied?": str,
    "conditions": [{"type": str, "match": str, "values": [str]}],
    "actions": [{"type": str, "value": _value_of_action}],
}
# The names that the apps have for a rule's conditions and actions. Android's stops at any other, iOS's takes
# it for the first one; and both read the first condition, its first value, and the first action.
CONDITION_TYPES = {"sender", "subject", "alias", "alias_description"}
CONDITION_MATCHES = {
    *("contains", "is exactly", "starts with", "ends with", "matches regex"),
    *("does not contain", "is not", "does not start with", "does not end with", "does not match regex"),
}
ACTION_TYPES = {"subject", "displayFrom", "encryption", "banner", "block", "removeAttachments", "forwardTo"}
ACCOUNT: Model = {
    **dict.fromkeys(("id", "username", "banner_location", "created_at", "updated_at"), str),
    **dict.fromkeys(("default_username_id", "default_recipient_id", "default_alias_domain"), str),
    "default_alias_format": str,
    **dict.fromkeys(("from_name?", "email_subject?", "subscription?", "subscription_type?"), str),
    "subscription_ends_at?": str,
    "disabled?": bool,
    **dict.fromkeys(("bandwidth", "bandwidth_limit", "username_count", "username_limit"), int),
    **dict.fromkeys(("recipient_count", "active_domain_count", "active_rule_count"), int),
    "active_shared_domain_alias_count": int,
    **dict.fromkeys(("recipient_limit?", "active_domain_limit?", "active_rule_limit?"), int),
    "active_shared_domain_alias_limit?": int,
    **dict.fromkeys(("total_emails_forwarded", "total_emails_blocked", "total_emails_replied"), int),
    **dict.fromkeys(("total_emails_sent", "total_aliases", "total_active_aliases"), int),
    **dict.fromkeys(("total_inactive_aliases", "total_deleted_aliases", "total_pinned_aliases"), int),
}
CHART: Model = {
    **dict.fromkeys(("forwardsData", "outboundMessageTotals", "repliesData", "sendsData"), [int]),
    "labels": [str],
}
OPTIONS: Model = {
    **dict.fromkeys(("data", "sharedDomains"), [str]),
    **dict.fromkeys(("defaultAliasDomain", "defaultAliasFormat"), str),
}
TOKEN: Model = {"name": str, "created_at": str, "expires_at?": str}
LOGIN: Model = {**TOKEN, "api_key": str}
MFA_REQUIRED: Model = {"message": str, "mfa_key": str, "csrf_token?": str}
VERSION: Model = {**dict.fromkeys(("major", "minor", "patch"), int), "version?": str}
NOTIFICATION: Model = {
    **dict.fromkeys(("category", "created_at", "id", "text", "title"), str),
    **dict.fromkeys(("link?", "link_text?"), str),
}
BULK: Model = {"ids": [str], "message": str}


def paged(model: Model) -> Model:
    return {"data": [model], "links?": LINKS, "meta?": META}


def faults(kind: Any, told: Any, where: str = "") -> list[str]:
    """What an app could not read of an answer: the places, with what stands there."""
    if isinstance(kind, list):
        if not isinstance(told, list):
            return [f"{where}: {told!r}"]
        return [fault for n, each in enumerate(told) for fault in faults(kind[0], each, f"{where}[{n}]")]
    if isinstance(kind, dict):
        if not isinstance(told, dict):
            return [f"{where}: {told!r}"]
        found = []
        for name, inner in kind.items():
            key, may_be_null = name.removesuffix("?"), name.endswith("?")
            if told.get(key) is None and may_be_null:
                continue
            value, place = told.get(key), f"{where}.{key}"
            found += faults(inner, value, place)
            if _IS_MOMENT.fullmatch(key) and isinstance(value, str) and not _MOMENT.fullmatch(value):
                found.append(f"{place}: {value!r} is no moment")
        return found
    # A bool is no int to them.
    is_right = type(told) is kind if isinstance(kind, type) else kind(told)
    return [] if is_right else [f"{where}: {told!r}"]
