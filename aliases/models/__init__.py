"""What is stored about aliases."""

from aliases.models.alias import Admits, Alias, AliasDestination, AliasQuerySet
from aliases.models.expiry import AliasExpiry
from aliases.models.preferences import AliasPreferences, SenderFormat

__all__ = [
    "Admits",
    "Alias",
    "AliasDestination",
    "AliasExpiry",
    "AliasPreferences",
    "AliasQuerySet",
    "SenderFormat",
]
