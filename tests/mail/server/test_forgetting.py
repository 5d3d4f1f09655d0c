"""A message whose sender has read our answer is forgotten: the same octets may then come as another one."""

import smtplib
import threading
from collections.abc import Iterator, Sequence

import pytest

from aliases.models import Alias
from mail.delivery import record
from mail.delivery.entries import Entry, Forgotten
from mail.models import Delivery
from tests.rig.mail_doors import Hop, running_doors
from tests.rig.mail_process import is_soon

pytestmark = pytest.mark.django_db(transaction=True)

MESSAGE = b"From: Bob <bob@sender.test>\r\nSubject: Hi\r\n\r\nHello\r\n"


@pytest.fixture
def may_forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """What is to be forgotten waits until this is set."""
    may_forget, write_all = threading.Event(), record._write_all

    def slow(entries: Sequence[Entry], *more: object) -> None:
        if any(isinstance(entry, Forgotten) for entry in entries):
            may_forget.wait(20)
        write_all(entries, *more)

    monkeypatch.setattr(record, "_write_all", slow)
    yield may_forget
    may_forget.set()


@pytest.fixture
def client(hop: Hop) -> Iterator[smtplib.SMTP]:
    with running_doors(hop, "smtp") as places, smtplib.SMTP(*places["smtp"], timeout=20) as client:
        yield client


def test_the_next_command_does_not_wait_for_it(
    client: smtplib.SMTP, alias: Alias, may_forget: threading.Event
) -> None:
    client.sendmail("bob@sender.test", [alias.address], MESSAGE)

    assert client.noop()[0] == 250
    assert Delivery.objects.filter(accepted=True).exists()
    may_forget.set()
    assert is_soon(lambda: not Delivery.objects.exists())


def test_the_same_octets_wait_for_it_and_are_another_message(
    client: smtplib.SMTP, alias: Alias, hop: Hop, may_forget: threading.Event
) -> None:
    message = "bob@sender.test", [alias.address], MESSAGE
    client.sendmail(*message)
    again = threading.Thread(target=client.sendmail, args=message)
    again.start()
    assert not is_soon(lambda: len(hop.sent) > 1, 0.5)

    may_forget.set()
    again.join(20)

    assert len(hop.sent) == 2
    assert is_soon(lambda: Alias.objects.get(pk=alias.pk).forwards == 2)
