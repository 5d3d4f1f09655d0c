"""How a correspondent is shown beside a reverse address. No Django here."""

from core.mailboxes import plain_name


def shown_name(sender_format: str, name: str, address: str) -> str:
    """The display name for a correspondent, "" for none, in one of SimpleLogin's five ways
    (aliases.models.SenderFormat). There is no `@` in it, which would look like an address of its own."""
    name = plain_name(name)
    in_words = _in_words(sender_format, address)
    match sender_format:
        case "NO_NAME":
            return ""
        case "NAME_ONLY":
            return name
        case "AT_ONLY":
            return in_words
    is_named = name and name != plain_name(address)
    return f"{name} - {in_words}" if is_named else in_words


def reverse_alias(sender_format: str, name: str, address: str, reverse_address: str) -> str:
    """`"Jane Doe | jane at shop.test" <r.…@example.com>`, as SimpleLogin's clients show it and paste it into
    a To field: with the whole correspondent, whatever the way."""
    parts = plain_name(name), _in_words(sender_format, address)
    shown = " | ".join(filter(None, (part.replace('"', "").replace("\\", "") for part in parts)))
    return f'"{shown}" <{reverse_address}>'


def _in_words(sender_format: str, address: str) -> str:
    return plain_name(address.replace("@", "(a)") if sender_format == "A" else address)
