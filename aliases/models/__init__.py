"""What is stored about aliases."""

from aliases.models.alias import Admits, Alias, AliasDestination, AliasQuerySet
from aliases.models.expiry import AliasExpiry
from aliases.models.name_space import NameRule, NameSpace, NameSpaceQuerySet
from aliases.models.preferences import AliasPreferences, SenderFormat
from aliases.models.sender import SenderAnswer, SenderDomain

__all__ = [
    "Admits",
    "Alias",
    "AliasDestination",
    "AliasExpiry",
    "AliasPreferences",
    "AliasQuerySet",
    "NameRule",
    "NameSpace",
    "NameSpaceQuerySet",
    "SenderAnswer",
    "SenderDomain",
    "SenderFormat",
]
