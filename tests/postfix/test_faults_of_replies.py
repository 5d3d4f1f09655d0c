"""The mail server or the database ends again and again, while replies and hidden forwards are underway."""

import os
import time
from collections.abc import Callable

import pytest

from tests.postfix.conftest import Send, Start
from tests.postfix.settling import MAIL_MESSAGES_AT_ONCE, Recurring, again_and_again, check, killed, settle
from tests.rig.faults import Database, Rig, with_contacts
from tests.rig.letters import Senders, letters_to, wait_until

pytestmark = pytest.mark.postgresql

# `make faults` sends a thousand, and kills ten times.
LETTERS = int(os.environ.get("FAULT_LETTERS", "240"))
KILLS = int(os.environ.get("FAULT_KILLS", "3"))
RECOVERY = 30.0
# The verdict of a mail server in front, which the rig trusts: of all proofs the one that needs no DNS.
PROVEN = "Authentication-Results: front.test; dmarc=pass header.from=home.test\r\n"
SETTINGS = {
    "MAIL_AUTHSERV_IDS": "front.test",
    "REPLIES_PER_DAY": "1000000",
    "CONTACTS_PER_DAY": "1000000",
}
OWN = "one0@home.test"
STRANGERS = 20

TO_CONTACTS = "SELECT reverse_address, replies FROM contacts_contact"
TOTALS = """
    SELECT 'aliases', sum(forwards + replies) FROM aliases_alias
    UNION ALL SELECT 'contacts', sum(forwards + replies) FROM contacts_contact
    UNION ALL SELECT 'activities', count(*) FROM mail_activity WHERE event IN ('forward', 'reply')
    UNION ALL SELECT 'without contact', count(*) FROM mail_activity WHERE contact_id IS NULL
"""


def restarted(rig: Rig, senders: Senders) -> float:
    """Stop the database for a moment; the seconds from its return to the next message at the far end."""
    assert isinstance(rig.database, Database)
    rig.database.server.stop()
    senders.go_on()
    time.sleep(0.5)
    rig.database.server.start()
    before = len(rig.sink.arrived)
    return wait_until(lambda: len(rig.sink.arrived) > before, 60, "mail at the far end")


FAULTS = pytest.mark.parametrize("fault", [killed, restarted])


def check_totals(rig: Rig, sending: Senders) -> None:
    """Each copy is counted once everywhere: at the alias, at the contact, and as an activity of both."""
    assert isinstance(rig.database, Database)
    copies = sum(len(sending.destinations[letter.recipient]) for letter in sending.letters)
    expected = {"aliases": copies, "contacts": copies, "activities": copies, "without contact": 0}
    assert rig.database.counters(TOTALS) == expected


@FAULTS
def test_replies(start: Start, senders: Send, new_database: Callable[[], Database], fault: Recurring) -> None:
    database = new_database()
    contacts = with_contacts(database)
    letters = letters_to(list(contacts), LETTERS, sender=OWN, more=PROVEN, is_rewritten=True)
    with start(database, **SETTINGS) as rig:
        sending = senders(rig, letters, contacts, KILLS + 1)
        longest = again_and_again(rig, sending, KILLS, fault)

        found = settle(rig, sending)
        what = f"{fault.__name__} {KILLS} times, replies"
        most = MAIL_MESSAGES_AT_ONCE * KILLS * (fault is killed)
        check(what, rig, sending, found, longest, doubles=most, counted=database.counters(TO_CONTACTS))
        check_totals(rig, sending)
        assert not any(b"home.test" in arrived.content for arrived in rig.sink.arrived)
        assert longest < RECOVERY


@FAULTS
def test_hidden_forwards(
    start: Start, senders: Send, new_database: Callable[[], Database], fault: Recurring
) -> None:
    """Of strangers, whose contacts are made while all this happens."""
    database = new_database()
    database.run("UPDATE aliases_alias SET hides_replies = TRUE")
    letters = [
        letter
        for stranger in range(STRANGERS)
        for letter in letters_to(
            list(database.aliases), LETTERS, sender=f"eve{stranger}@sender.test", is_rewritten=True
        )[stranger::STRANGERS]
    ]
    with start(database, **SETTINGS) as rig:
        sending = senders(rig, letters, database.aliases, KILLS + 1)
        longest = again_and_again(rig, sending, KILLS, fault)

        found = settle(rig, sending)
        what = f"{fault.__name__} {KILLS} times, hidden forwards"
        most = MAIL_MESSAGES_AT_ONCE * KILLS * (fault is killed)
        # As a milter too, these come over LMTP: none is counted twice.
        check(what, rig, sending, found, longest, doubles=most)
        check_totals(rig, sending)
        assert longest < RECOVERY
