"""An alias as a row of the list."""

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


def row_values(alias: Alias, *, is_new: bool = False) -> dict[str, str | int]:
    """What `aliases/_row.html` shows of an alias."""
    expiry: AliasExpiry | None = getattr(alias, "expiry", None)
    expired = expiry.expired_at if expiry else None
    expires = expiry.ends if expiry and not expired else None
    last_mail = alias.last_activity
    sender = getattr(alias, "last_sender", None) or {}
    note = _shortened(alias.note)
    # What a field of one line can show and change whole.
    is_one_line = len(alias.note) <= NOTE_SHOWN_CHARACTERS and "\n" not in alias.note
    shown = alias.display_address
    local_part, _, domain = shown.rpartition("@")
    return {
        "pk": alias.pk,
        "new": is_new,
        "enabled": alias.enabled,
        "pinned": alias.pinned,
        "made_by_mail": alias.made_by_mail,
        "new_senders": getattr(alias, "has_new_senders", False),
        "alias": shown,
        "address": alias.address,
        "local_part": local_part,
        "domain": domain,
        "note": note,
        "one_line_note": note if is_one_line else "",
        "hostname": alias.display_hostname,
        "destinations": ", ".join([address.email for address in alias.destination_addresses]),
        "forwards": alias.forwards,
        "blocks": alias.blocks,
        "last_mail": ago(last_mail) if last_mail else "",
        "sender": sender.get("address", ""),
        "sender_to_block": 0 if sender.get("is_blocked") else sender.get("contact") or 0,
        "expired": time_tag(expired) if expired else "",
        "expires": time_tag(expires) if expires else "",
        # Shown of those alone that have had no mail.
        "created": "" if last_mail else ago(alias.created),
    }


def _shortened(note: str) -> str:
    """The note, cut to NOTE_SHOWN_CHARACTERS."""
    # Truncator takes longer to find that there is nothing to do than the rest of a row takes.
    if note.isascii() and len(note) <= NOTE_SHOWN_CHARACTERS:
        return note
    return Truncator(note).chars(NOTE_SHOWN_CHARACTERS)
