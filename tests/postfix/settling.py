"""What is asserted once a fault is over and everything has settled."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.rig.faults import Rig, report
from tests.rig.letters import Account, Senders, account, read_maildir, wait_until

# Seconds.
DRAINED = 300.0
# A kill can double what was underway in that instant: accepted by the next hop, and not written down yet.
MAIL_MESSAGES_AT_ONCE = 20
# Not at a domain of ours.
OTHER = "someone@elsewhere.test"


# A fault that comes again and again. It has the next portion of letters sent, and returns the seconds that it
# took to recover.
Recurring = Callable[[Rig, Senders], float]


def go_on(rig: Rig, senders: Senders) -> None:
    """Have the next portion sent, and return when letters are underway."""
    before = len(rig.sink.arrived)
    senders.go_on()
    wait_until(lambda: len(rig.sink.arrived) > before, 120, "another letter at the far end")


def killed(rig: Rig, senders: Senders) -> float:
    """Kill the mail server; the seconds until it listens again."""
    go_on(rig, senders)
    before = time.monotonic()
    rig.mail.kill()
    rig.mail.start()
    return time.monotonic() - before


def again_and_again(rig: Rig, senders: Senders, times: int, fault: Recurring) -> float:
    """The longest time that it took to recover from the fault, which comes so many times. The letters are
    sent in one portion more, so that they do not run out: about half of one arrives before the next fault."""
    longest = 0.0
    portion = len(senders.letters) // (times + 1)
    assert portion > 0
    for number in range(times):
        half = number * portion + portion // 2
        wait_until(lambda half=half: len(rig.sink.arrived) >= half, 120, "letters at the far end")
        longest = max(longest, fault(rig, senders))
    return longest


def settle(rig: Rig, senders: Senders, maildir: Path | None = None) -> Account:
    """Everything sent, everything delivered, and a moment more, in which nothing else comes."""
    senders.join(DRAINED)
    # A message that was still held when its turn came is looked for every five minutes only (qmgr(8)).
    rig.postfix.wait_until_idle(DRAINED, flush=True)

    def arrived() -> list[tuple[str, bytes]]:
        if maildir:
            return read_maildir(maildir)
        # Other mail than the letters has gone the same way.
        return [(each.recipient, each.content) for each in rig.sink.arrived if each.recipient != OTHER]

    time.sleep(0.3)
    return account(senders.letters, senders.destinations, arrived())


def check(
    fault: str,
    rig: Rig,
    senders: Senders,
    found: Account,
    seconds: float,
    doubles: int = 0,
    recounted: int = 0,
    counted: Mapping[str, int] | None = None,
    sent_again: int = 0,
) -> None:
    """Nothing lost, nothing damaged, no more doubles than these, and the counters exact: `counted`, or else
    the aliases' forwards.

    As a milter we count a letter before Postfix queues it: so many that it did not queue then, and that came
    again, may be counted twice. `sent_again`: so many may be, in either design, that Postfix had queued
    for senders who did not hear it.
    """
    due = dict.fromkeys(senders.destinations, 0)
    for letter in senders.letters:
        due[letter.recipient] += len(senders.destinations[letter.recipient])
    counted = rig.database.counters() if counted is None else counted
    more = {recipient: counted[recipient] - due[recipient] for recipient in due}
    report(
        {
            "fault": fault,
            "design": rig.design,
            "database": rig.database.kind,
            "sent": found.sent,
            "arrived": f"{len(found.copies)} of {len(found.wanted)} copies",
            "duplicates": found.doubles,
            "counted": f"{sum(counted.values())} of {sum(due.values())}",
            "deferred": dict(senders.deferred),
            "recovered": f"{seconds:.1f} s",
        }
    )
    assert not found.lost
    assert not found.damaged
    if found.doubles > doubles:
        print(found.doubled(), rig.mail.log.read_text()[-2000:], sep="\n")
    assert found.copies.keys() == found.wanted
    assert found.doubles <= doubles
    assert min(more.values()) >= 0
    assert sum(more.values()) <= sent_again + (recounted if rig.design == "milter" else 0)
