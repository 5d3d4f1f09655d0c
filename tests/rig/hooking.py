"""Hooks for tests, and a worker that looks once."""

from dataclasses import dataclass

from accounts.models import User
from hooks.models import Hook, HookEvent, HookMessage
from hooks.sending import Outcome, record, send, take
from tests.rig.receiver import HOST


@dataclass(frozen=True)
class Made:
    hook: Hook
    secret: str


def make(owner: User | None, url: str = f"https://{HOST}/x", *events: str) -> Made:
    return Made(*Hook.objects.make(owner=owner, url=url, events=events or HookEvent.values))


def deliver() -> list[tuple[HookMessage, Outcome]]:
    """What a worker does once."""
    done = []
    for message in take(10):
        outcome = send(message)
        record(message, outcome)
        done.append((message, outcome))
    return done
