"""What is stored about aliases."""

from aliases.models.alias import Alias
from aliases.models.alias_queryset import AliasQuerySet
from aliases.models.destination import AliasDestination
from aliases.models.expiry import AliasExpiry
from aliases.models.name_space import NameRule, NameSpace, NameSpaceQuerySet
from aliases.models.preferences import AliasPreferences, SenderFormat
from aliases.models.sender import Admits, SenderAnswer, SenderDomain

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
