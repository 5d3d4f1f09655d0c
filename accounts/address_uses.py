"""Addresses that are in use for something else, as the apps above this one know them."""

from collections.abc import Callable

_uses: list[Callable[[str], bool]] = []


def register_address_use(is_used: Callable[[str], bool]) -> None:
    """Let no address that `is_used` says yes to become anybody's own. Call it in `AppConfig.ready`."""
    _uses.append(is_used)


def has_other_use(email: str) -> bool:
    """Whether another app uses this address: mail to it must not be forwarded to it."""
    return any(is_used(email) for is_used in _uses)
