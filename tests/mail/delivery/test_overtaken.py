"""An outcome whose time runs out while the thread that is to write it waits for the database."""

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
from django.db import OperationalError

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from mail.delivery import gatherer, record
from mail.delivery.entries import Begun, Entry, Settled
from mail.delivery.lookups import CopiesOf
from mail.delivery.proposals import Proposal
from mail.models import Activity, Delivery
from tests.rig.mail_doors import Hop, Process
from tests.rig.mail_process import is_soon

pytestmark = pytest.mark.django_db(transaction=True)

FIRST, SECOND = "a" * 64, "b" * 64


@pytest.mark.parametrize("is_locked_once", [False, True])
def test_it_is_counted_once(alice: User, monkeypatch: pytest.MonkeyPatch, is_locked_once: bool) -> None:
    """Another message is about to be begun in the same transaction, which has it written as an outcome that
    could not be written before; `is_locked_once`: and that transaction has to be tried again."""
    alias = issue(owner=alice)
    destination_id = alias.destinations.get().pk
    is_given_up, locked = threading.Event(), OperationalError()
    to_be_locked = [locked] if is_locked_once else []
    weigh, write_all, settle = record.weigh, record._write_all, record.Ledger.settle

    def weigh_slowly(proposals: Sequence[Proposal]) -> Any:
        assert is_given_up.wait(20)
        return weigh(proposals)

    def write_when_unlocked(entries: Sequence[Entry], *more: Any) -> None:
        if any(isinstance(entry, Begun) and entry.digest == SECOND for entry in entries) and to_be_locked:
            raise to_be_locked.pop()
        write_all(entries, *more)

    async def settle_late(ledger: record.Ledger, copy: Settled) -> None:
        await settle(ledger, copy)
        is_given_up.set()

    monkeypatch.setattr(record, "weigh", weigh_slowly)
    monkeypatch.setattr(record, "_write_all", write_when_unlocked)
    monkeypatch.setattr(gatherer, "is_locked", lambda error: error is locked)

    async def go_on(process: Process) -> None:
        ledger = process.ledger
        await ledger.write(Begun(alias.pk, FIRST, (destination_id,)))
        monkeypatch.setattr(gatherer, "ANSWER_TIMEOUT", 0.2)
        deadline = time.monotonic() + 20
        begun = Begun(alias.pk, SECOND, (destination_id,), deadline=deadline)
        proposal = Proposal(CopiesOf(alias.pk, SECOND), lambda _copy: begun)
        copy = Settled(alias.pk, destination_id, FIRST, "", "eve@sender.test")
        await asyncio.gather(ledger.propose(proposal, deadline), settle_late(ledger, copy))

    with Process(Hop()) as process:
        process.runner.run(go_on(process))

    assert not to_be_locked
    assert is_soon(lambda: Delivery.objects.count() == 2)
    assert Alias.objects.get(pk=alias.pk).forwards == 1
    assert Activity.objects.count() == 1
