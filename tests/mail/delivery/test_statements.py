"""What a hidden forward and a reply ask the database and write, statement by statement."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from accounts.models import User
from aliases.models import Alias
from contacts.models import Contact
from domains.models import Domain
from mail.delivery.handover import Answer, Message
from mail.delivery.resolve import resolve
from mail.encryption.keys import give_key
from rules.models import Rule
from tests.rig.dkim_keys import published_keys
from tests.rig.mail_doors import Hop, Process
from tests.rig.nameserver import Nameserver
from tests.rig.openpgp import PUBLIC_KEY
from tests.rig.replying import OWN, letter
from tests.rig.ruling import condition, rule

# PostgreSQL's have other words for the same.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.sqlite]

EVE = "eve@far.test"
# Transactions are not.
_ABOUT_ROWS = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE)\b")
_TABLE = re.compile(r'(?:SELECT|INTO|UPDATE)\s+"?([a-z]+_[a-z]+)"?')


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each statement about rows, of any thread's, as `select aliases_alias`."""
    found: list[str] = []
    execute, executemany = CursorWrapper.execute, CursorWrapper.executemany

    def note(sql: Any) -> None:
        text = str(sql)
        if _ABOUT_ROWS.match(text) and (table := _TABLE.search(text)):
            found.append(f"{text.split(maxsplit=1)[0].lower()} {table[1]}")

    def one(self: CursorWrapper, sql: Any, params: Any = None) -> Any:
        note(sql)
        return execute(self, sql, params)

    def many(self: CursorWrapper, sql: Any, params: Sequence[Any]) -> Any:
        note(sql)
        return executemany(self, sql, params)

    # Or statements that are compiled once go past Django's cursors (core.db.statements).
    monkeypatch.setattr(BaseDatabaseWrapper, "queries_logged", property(lambda _connection: True))
    monkeypatch.setattr(CursorWrapper, "execute", one)
    monkeypatch.setattr(CursorWrapper, "executemany", many)
    return found


# From a letter whose recipient is resolved until its outcome is written, as it came.
FORWARD = [
    "select contacts_contact",  # the author, whom the owner may have blocked
    "select aliases_aliasdestination",  # where it goes, and whether it went there before
    "insert mail_delivery",
    "update mail_delivery",
    "update aliases_alias",  # its counter
    "insert mail_activity",
]
HIDDEN = [
    *FORWARD,  # all whom the letter names are looked up at once
    "select domains_dkimkey",
    "select contacts_contact",  # that the contact is still there
    "update contacts_contact",  # its counter
]
ENCRYPTED = [
    *FORWARD,
    "select mail_destinationkey",
    "select domains_dkimkey",  # it is signed for the alias's domain
]
RULED = [
    *FORWARD,
    "select rules_rule",
    "select rules_ruledestination",
]
OF_A_STRANGER = [
    *HIDDEN,
    "select contacts_contact",  # once more before it is made, and once after
    "select contacts_contact",
    "select aliases_alias",  # who may have so many in a day
    "insert core_counter",
    "insert contacts_contact",
]
REPLY = [
    "select aliases_alias",  # with its owner and their preferences
    "select account_emailaddress",  # who may reply
    "select contacts_contact",
    "select domains_dkimkey",
    "select mail_delivery",  # whether it was sent before
    "insert core_counter",  # the limits
    "insert mail_delivery",
    "update mail_delivery",
    "update aliases_alias",
    "select contacts_contact",
    "update contacts_contact",
    "insert mail_activity",
]
IN_A_THREAD = [*REPLY, "select mail_delivery"]  # which of the messages that it names are the owner's


def incoming(alias: Alias, number: int) -> Message:
    content = letter(alias.address, From=EVE, Message_ID=f"<{number}@far.test>")
    return Message(EVE, content, "x", "LMTP", is_queued=True)


def outgoing(to: Contact, number: int, **more: str) -> Message:
    content = letter(to.reverse_address, Message_ID=f"<{number}@laptop.home.test>", **more)
    return Message(OWN, content, "x", "SMTP", peer="127.0.0.1")


def more_than(expected: list[str], statements: list[str], process: Process, message: Message, to: str) -> Any:
    """The statements beyond these that the message takes after its recipient was resolved."""
    resolution = resolve(to)
    del statements[:]
    assert process.take(message, resolution) is Answer.DONE
    assert "insert mail_activity" in statements
    # The names of our domains are read once a second, by a thread of the mail server's.
    return Counter(each for each in statements if each != "select domains_domain") - Counter(expected)


def test_a_hidden_forward_takes_three_statements_more_than_one_as_it_came(
    alias: Alias, example_com: Domain, bob: Contact, statements: list[str]
) -> None:
    published_keys(example_com)
    with Process(Hop()) as process:
        assert not more_than(FORWARD, statements, process, incoming(alias, 1), alias.address)
        Alias.objects.filter(pk=alias.pk).update(hides_replies=True)
        assert not more_than(OF_A_STRANGER, statements, process, incoming(alias, 2), alias.address)
        assert not more_than(HIDDEN, statements, process, incoming(alias, 3), alias.address)


def test_a_forward_to_a_destination_with_a_key_takes_two_statements_more(
    alias: Alias, example_com: Domain, statements: list[str]
) -> None:
    published_keys(example_com)
    give_key(EmailAddress.objects.get(email=OWN), PUBLIC_KEY.encode())
    with Process(Hop()) as process:
        assert not more_than(ENCRYPTED, statements, process, incoming(alias, 1), alias.address)


def test_only_people_with_rules_pay_for_them_with_two_statements(
    alias: Alias, alice: User, mallory: User, statements: list[str]
) -> None:
    rule(mallory, blocks=True)
    with Process(Hop()) as process:
        assert not more_than(FORWARD, statements, process, incoming(alias, 1), alias.address)
        rule(alice, blocks=True)
        assert not more_than(RULED, statements, process, incoming(alias, 2), alias.address)
        assert statements.count("select rules_rule") == 1
        Rule.objects.update(conditions=[condition("sender", "is", EVE).as_json()], blocks=False, subject="x")
        # Marked, it is written as a hidden one is; that the rule was applied is counted.
        marked = [*OF_A_STRANGER, *RULED[len(FORWARD) :], "update rules_rule"]
        assert not more_than(marked, statements, process, incoming(alias, 3), alias.address)


def test_a_reply_takes_no_more_statements_than_these(
    example_com: Domain, bob: Contact, dns: Nameserver, statements: list[str]
) -> None:
    published_keys(example_com)
    thread = {"References": "<1@laptop.home.test> <9@sender.test>", "In-Reply-To": "<9@sender.test>"}
    with Process(Hop()) as process:
        assert not more_than(REPLY, statements, process, outgoing(bob, 1), bob.reverse_address)
        assert not more_than(
            IN_A_THREAD, statements, process, outgoing(bob, 2, **thread), bob.reverse_address
        )
