"""What is stored about aliases."""

from aliases.models.alias import Alias, AliasDestination, AliasQuerySet
from aliases.models.expiry import AliasExpiry
from aliases.models.preferences import AliasPreferences

__all__ = ["Alias", "AliasDestination", "AliasExpiry", "AliasPreferences", "AliasQuerySet"]
