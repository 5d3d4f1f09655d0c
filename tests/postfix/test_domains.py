"""Postfix learns of a domain from the table that a running mail server writes, without a reload."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.test.utils import override_settings

from mail.postfix.files import main_cf, master_cf
from mail.postfix.fresh import fresh
from tests.conftest import missing
from tests.postfix.conftest import queue_directory
from tests.postfix.sender import EVE, Sender
from tests.rig import mta
from tests.rig.mail_process import Server, filled_database, is_soon, manage
from tests.rig.mta import Ports, Postfix

# A second of ours, ten of Postfix's, and the time of a busy machine.
NOTICED = 11 + 9


@dataclass
class Learning:
    """A mail server that keeps the table of its own Postfix."""

    server: Server
    postfix: Postfix
    ports: Ports
    asked: int = 0

    def answer(self, domain: str) -> str:
        """What a sender hears about the postmaster of that domain, who takes mail if it is ours."""
        # Another address each time: smtpd(8) remembers some.
        self.asked += 1
        with closing(Sender(self.ports.smtp)) as sender:
            sender.from_elsewhere(b"sender.test")
            sender.say(f"MAIL FROM:<{EVE}>".encode())
            return sender.say(f"RCPT TO:<postmaster+{self.asked}@{domain}>".encode())

    def wait_until(self, domain: str, begin: str) -> None:
        """Ask until the answer begins so."""
        began = time.monotonic()
        while not (answer := self.answer(domain)).startswith(begin):
            assert time.monotonic() - began < NOTICED, answer
            time.sleep(0.2)

    def manage(self, *words: str) -> None:
        done = manage(self.server.environment, *words)
        assert done.returncode == 0, done.stderr


@pytest.fixture
def learning(tmp_path: Path) -> Iterator[Learning]:
    with ExitStack() as stack:
        directory = stack.enter_context(mta.directory())
        home = Path(tempfile.mkdtemp(prefix="anonmail-"))
        stack.callback(shutil.rmtree, home)
        server = Server(home, filled_database(tmp_path)[0])
        stack.callback(server.end)
        try:
            ports = Ports.free(directory / "queue")
            settings = ports.settings() | {"MAIL_LISTEN": server.environment["MAIL_LISTEN"]}
            with override_settings(**settings), queue_directory(directory / "queue"):
                configuration = fresh()
            mta.install(directory, main_cf(configuration), master_cf(configuration), ports, {}, {})
        except mta.Missing as reason:
            missing(str(reason))
        server.environment |= {key: str(value) for key, value in settings.items()}
        server.environment |= {"MAIL_CONFIG": str(directory), "MAIL_POSTMASTER": "boss@boss.test"}
        server.start()
        assert is_soon((ports.shared / "domains.db").exists), server.log()
        postfix = stack.enter_context(mta.started(directory, ports))
        yield Learning(server, postfix, ports)


def test_domains_come_and_go_without_a_reload(learning: Learning) -> None:
    assert learning.answer("example.com").startswith("250 ")
    assert learning.answer("new.test").startswith("554 5.7.1 ")

    learning.manage("create_domain", "new.test")
    learning.wait_until("new.test", "250 ")
    assert learning.answer("example.com").startswith("250 ")

    learning.manage("shell", "-v0", "-c", DELETE)
    learning.wait_until("new.test", "554 5.7.1 ")
    assert learning.answer("example.com").startswith("250 ")
    assert "not written" not in learning.server.log()


DELETE = "from domains.models import Domain; Domain.objects.filter(name='new.test').delete()"


def test_without_the_mail_server_our_domains_wait_and_others_are_refused(learning: Learning) -> None:
    learning.server.end()

    assert learning.answer("example.com").startswith("451 4.3.0 ")
    assert learning.answer("elsewhere.test").startswith("554 5.7.1 ")
