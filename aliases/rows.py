"""An alias as a row of the list."""

from django.utils.html import escape
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from aliases.models import Alias, AliasExpiry
from core.patterns import fill
from core.templatetags.moments import time_tag

NOTE_SHOWN_CHARACTERS = 160


def row_of(alias: Alias) -> SafeString:
    """The row in the present language and time zone."""
    return fill("aliases/_row.html", row_values(alias))


def row_values(alias: Alias) -> dict[str, SafeString | int]:
    """What `aliases/_row.html` shows of an alias."""
    expiry: AliasExpiry | None = getattr(alias, "expiry", None)
    expired = expiry.expired_at if expiry else None
    expires = expiry.ends if expiry and not expired else None
    last_mail = alias.last_activity
    none = SafeString()
    return {
        "pk": alias.pk,
        "enabled": alias.enabled,
        "pinned": alias.pinned,
        "alias": escape(alias.display_address),
        "address": escape(alias.address),
        "note": escape(Truncator(alias.note).chars(NOTE_SHOWN_CHARACTERS)) if alias.note else none,
        "hostname": escape(alias.display_hostname),
        "destinations": escape(", ".join(address.email for address in alias.destination_addresses)),
        "forwards": SafeString(alias.forwards),
        "blocks": SafeString(alias.blocks),
        "last_mail": time_tag(last_mail) if last_mail else none,
        "expired": time_tag(expired) if expired else none,
        "expires": time_tag(expires) if expires else none,
        "created": time_tag(alias.created),
    }
