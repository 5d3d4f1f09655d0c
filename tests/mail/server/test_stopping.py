"""Messages that have begun when the mail server stops."""

import smtplib
import threading
import time

import pytest

from aliases.models import Alias
from mail.server import smtp
from tests.rig.mail_doors import Hop, running_doors

pytestmark = pytest.mark.django_db(transaction=True)
TEXT = "Subject: hi\r\n\r\nhi\r\n"


class Stopping:
    """A door that is stopped while a client talks to it."""

    def __init__(self, hop: Hop) -> None:
        self._running = running_doors(hop, "smtp")
        self.client = smtplib.SMTP(timeout=20)
        self.client.connect(*self._running.__enter__()["smtp"])
        self._thread = threading.Thread(target=self._running.__exit__, args=(None, None, None))

    def stop(self) -> None:
        self._thread.start()
        # The door has been told.
        time.sleep(0.3)

    def wait(self) -> None:
        self._thread.join(30)
        self.client.close()


def test_whoever_has_just_come_may_still_hand_over_a_message(alias: Alias, hop: Hop) -> None:
    door = Stopping(hop)
    door.stop()

    assert door.client.sendmail("bob@sender.test", [alias.address], TEXT) == {}

    door.wait()
    assert len(hop.sent) == 1


def test_a_message_that_has_begun_is_finished(alias: Alias, hop: Hop) -> None:
    door = Stopping(hop)
    door.client.sendmail("bob@sender.test", [alias.address], TEXT)
    door.client.mail("bob@sender.test")
    door.stop()

    assert door.client.rcpt(alias.address)[0] == 250
    assert door.client.data(TEXT)[0] == 250

    door.wait()
    assert len(hop.sent) == 2


def test_a_client_between_two_messages_is_hung_up_on(alias: Alias, hop: Hop) -> None:
    door = Stopping(hop)
    door.client.sendmail("bob@sender.test", [alias.address], TEXT)
    door.stop()

    with pytest.raises(smtplib.SMTPServerDisconnected):
        door.client.mail("bob@sender.test")
    door.wait()


def test_a_silent_client_does_not_hold_up_the_stop(hop: Hop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "LAST_MESSAGE_TIME", 0.1)
    door = Stopping(hop)
    door.client.mail("bob@sender.test")
    door.stop()

    with pytest.raises(smtplib.SMTPServerDisconnected):
        door.client.noop()
    door.wait()
