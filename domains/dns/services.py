"""Services that programs find by SRV records of a domain (RFC 6186); packages above this one offer them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Service:
    """A service at this server: `label` is what its records' names begin with (`_submissions._tcp`)."""

    label: str
    port: int


_offered: list[Callable[[], Iterable[Service]]] = []


def offer(services: Callable[[], Iterable[Service]]) -> None:
    """Let domains have records for the services that the function returns when it is called."""
    _offered.append(services)


def services() -> list[Service]:
    """All that is offered with the settings as they are."""
    return [service for each in _offered for service in each()]
