from accounts.models.identity import Identity
from accounts.models.own_addresses import AddressChange, DestinationOnly
from accounts.models.user import LastAdmin, Theme, User

__all__ = ["AddressChange", "DestinationOnly", "Identity", "LastAdmin", "Theme", "User"]
