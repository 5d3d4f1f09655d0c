"""How a correspondent is shown beside a reverse address. No Django here."""

from core.mailboxes import plain_name


def shown_name(sender_format: str, name: str, address: str) -> str:
    """The display name for a correspondent, "" for none, in one of SimpleLogin's five ways
    (aliases.models.SenderFormat). There is no `@` in it, which would look like an address of its own."""
    name = plain_name(name)
    in_words = plain_name(address.replace("@", "(a)") if sender_format == "A" else address)
    match sender_format:
        case "NO_NAME":
            return ""
        case "NAME_ONLY":
            return name
        case "AT_ONLY":
            return in_words
    is_named = name and name != plain_name(address)
    return f"{name} - {in_words}" if is_named else in_words
