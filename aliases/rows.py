"""An alias as a row of the list."""

from django.utils.html import escape
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from aliases.models import Alias, AliasExpiry
from core.patterns import fill
from core.templatetags.moments import ago, time_tag

NOTE_SHOWN_CHARACTERS = 160


def row_of(alias: Alias, *, is_new: bool = False) -> SafeString:
    """The row in the present language and time zone. `is_new`: it stands out, and its address is ready to
    be copied."""
    return fill("aliases/_row.html", row_values(alias, is_new=is_new))


def row_values(alias: Alias, *, is_new: bool = False) -> dict[str, SafeString | int]:
    """What `aliases/_row.html` shows of an alias."""
    expiry: AliasExpiry | None = getattr(alias, "expiry", None)
    expired = expiry.expired_at if expiry else None
    expires = expiry.ends if expiry and not expired else None
    last_mail = alias.last_activity
    sender = getattr(alias, "last_sender", None) or {}
    none = SafeString()
    note = escape(Truncator(alias.note).chars(NOTE_SHOWN_CHARACTERS)) if alias.note else none
    # What a field of one line can show and change whole.
    is_one_line = len(alias.note) <= NOTE_SHOWN_CHARACTERS and "\n" not in alias.note
    local_part, _, domain = alias.display_address.rpartition("@")
    return {
        "pk": alias.pk,
        "new": is_new,
        "enabled": alias.enabled,
        "pinned": alias.pinned,
        "made_by_mail": alias.made_by_mail,
        "new_senders": getattr(alias, "has_new_senders", False),
        "alias": escape(alias.display_address),
        "address": escape(alias.address),
        "local_part": escape(local_part),
        "domain": escape(domain),
        "note": note,
        "one_line_note": note if is_one_line else none,
        "hostname": escape(alias.display_hostname),
        "destinations": escape(", ".join(address.email for address in alias.destination_addresses)),
        "forwards": alias.forwards,
        "blocks": alias.blocks,
        "last_mail": ago(last_mail) if last_mail else none,
        "sender": escape(sender.get("address", "")),
        "sender_to_block": 0 if sender.get("is_blocked") else sender.get("contact") or 0,
        "expired": time_tag(expired) if expired else none,
        "expires": time_tag(expires) if expires else none,
        "created": ago(alias.created),
    }
