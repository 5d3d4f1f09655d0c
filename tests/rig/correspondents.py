"""Correspondents of an alias, as if they had written to it."""

from collections.abc import Iterable

from contacts.book import Found, Wanted, contacts_for_all


def contacts_for(alias_id: int, addresses: Iterable[tuple[str, str | None]]) -> Found:
    """The contacts of an alias at these addresses, each with the name in its own From field or None."""
    return contacts_for_all([Wanted(alias_id, tuple(addresses))])[0]
