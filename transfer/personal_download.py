"""Everything that is stored about one person, for that person to download."""

from typing import Any

from allauth.account.models import EmailAddress
from allauth.usersessions.models import UserSession

from accounts.models import AddressChange, Identity, User
from aliases.models import AliasPreferences, NameSpace, SenderDomain
from contacts.models import Contact
from domains.models import AccessGrant
from hooks.models import Hook
from rules.models import Rule
from tokens.models import Token
from transfer.formats.anonmail import alias_rows

REPLY_PREFERENCES = (
    "hides_replies",
    "sender_format",
    "reply_name",
    "replies_to_others",
    "strict_replies",
    "cleans_text",
    "allows_revealing",
    "keeps_returned",
    "tells_of_new_senders",
)


def _key(address: EmailAddress) -> dict[str, Any] | None:
    key = getattr(address, "openpgp_key", None)
    if key is None:
        return None
    return {
        "fingerprint": key.fingerprint,
        "expires": key.expires_at.isoformat() if key.expires_at else None,
        "in_use": key.is_used,
        "hides_subject": key.hides_subject,
        "otherwise": key.otherwise,
        "since": key.since.isoformat(),
    }


def everything(user: User) -> dict[str, Any]:
    """A document for `json.dump`: the account and all that belongs to it, without secrets."""
    preferences = AliasPreferences.objects.filter(user=user).select_related("default_domain").first()
    return {
        "account": {
            "email": user.email,
            "name": user.name,
            "created": user.date_joined.isoformat(),
            "last_sign_in": user.last_login.isoformat() if user.last_login else None,
            "is_global_admin": user.is_superuser,
            "theme": user.theme,
            "language": user.language,
            "has_shortcuts": user.has_shortcuts,
            "manages": [domain.name for domain in user.managed_domains.all()],
        },
        "addresses": [
            {
                "email": row.email,
                "verified": row.verified,
                "primary": row.primary,
                "receives_only": hasattr(row, "destination_only"),
                "openpgp_key": _key(row),
            }
            for row in user.emailaddress_set.select_related("destination_only", "openpgp_key").order_by("pk")
        ],
        "address_changes": [
            {"address": row.address, "kind": row.kind, "at": row.at.isoformat(), "by_api": row.by_api}
            for row in AddressChange.objects.owned_by(user)
        ],
        "preferences": {
            "default_domain": getattr(preferences and preferences.default_domain, "name", None),
            "style": getattr(preferences, "style", None),
            "idle_days": getattr(preferences, "idle_days", None),
            "unused_days": getattr(preferences, "unused_days", None),
            **{name: getattr(preferences, name, None) for name in REPLY_PREFERENCES},
        },
        "second_factors": [
            {"type": factor.type, "created": factor.created_at.isoformat()}
            for factor in user.authenticator_set.order_by("pk")
        ],
        "connected_accounts": [
            {"issuer": row.issuer, "subject": row.subject, "created": row.created.isoformat()}
            for row in Identity.objects.owned_by(user)
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
        "web_hooks": [
            {
                "url": hook.url,
                "events": hook.events.split(),
                "created": hook.created.isoformat(),
                "stopped": hook.stopped_at.isoformat() if hook.stopped_at else None,
            }
            for hook in Hook.objects.owned_by(user)
        ],
        "rules": [
            {
                "name": rule.name,
                "on": rule.is_on,
                "needs_all": rule.needs_all,
                "conditions": rule.conditions,
                "blocks": rule.blocks,
                "forwards_to": [address.email for address in rule.destinations],
                "subject": rule.subject,
                "disables": rule.disables,
                "is_last": rule.stops,
                "applied": rule.applied,
                "last_applied": rule.applied_at.isoformat() if rule.applied_at else None,
                "created": rule.created.isoformat(),
                "changed": rule.changed.isoformat(),
            }
            for rule in Rule.objects.owned_by(user).in_order()
        ],
        "name_spaces": [
            {
                "names": str(space),
                "enabled": space.enabled,
                "patterns": space.names,
                "is_expression": space.is_expression,
                "key_word": space.key_word,
                "per_day": space.per_day,
                "note": space.note,
                "rules": [{"names": rule.glob, "destination": rule.address.email} for rule in space.rows],
                "created": space.created.isoformat(),
            }
            for space in NameSpace.objects.owned_by(user).select_related("domain")
        ],
        "aliases": list(alias_rows(user)),
        "contacts": [
            {
                "alias": contact.alias.address,
                "address": contact.address,
                "name": contact.name,
                "reverse_address": contact.reverse_address,
                "blocked": contact.blocked,
                "waiting": contact.waiting,
                "forwards": contact.forwards,
                "replies": contact.replies,
                "blocks": contact.blocks,
                "created": contact.created.isoformat(),
                "last_forward": contact.last_forward_at.isoformat() if contact.last_forward_at else None,
                "last_reply": contact.last_reply_at.isoformat() if contact.last_reply_at else None,
            }
            for contact in Contact.objects.filter(alias__owner=user).select_related("alias").order_by("pk")
        ],
        "senders": [
            {
                "alias": sender.alias.address,
                "domain": sender.domain,
                "verified": sender.is_proven,
                "first": sender.first_at.isoformat(),
                "answer": sender.answer,
            }
            for sender in SenderDomain.objects.filter(alias__owner=user)
            .select_related("alias")
            .order_by("pk")
        ],
    }
