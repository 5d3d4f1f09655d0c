"""Whatever fails while hundreds of letters are underway: each one arrives, and arrives once."""

import asyncio
import os
import re
import shutil
import signal
import smtplib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings
from pytest_django import Settings

from accounts.models import User
from mail.delivery.forward import Forwarder, Redirection
from mail.postfix.fresh import fresh
from mail.server.processes import PAUSE_MAX
from tests.postfix.conftest import Running, Send, Start, run_postfix, run_site
from tests.postfix.sender import MESSAGE, figures, issue, send, settled
from tests.postfix.settling import (
    DRAINED,
    MAIL_MESSAGES_AT_ONCE,
    OTHER,
    again_and_again,
    check,
    go_on,
    killed,
    settle,
)
from tests.rig.faults import Database, File, FullDisk, Rig, full, rcpt, running, small_disk
from tests.rig.letters import LETTERS, THREADS, Senders, account, read_maildir, wait_until

pytestmark = pytest.mark.postgresql

# Seconds. What the design promises is 3 for an answer and 5 for the way back; a busy machine takes longer.
ANSWER = 15.0
RECOVERY = 30.0
# Postfix waits twice for 5 (mail.postfix.parameters).
POLICY_TIMEOUT = 25.0
# `make faults` kills ten times.
KILLS = int(os.environ.get("FAULT_KILLS", "5"))
# Letters that Postfix delivers at the same moment (default_destination_concurrency_limit).
DELIVERIES = 20
# So many letters have been accepted when the fault begins.
UNDERWAY = 150
MEBIBYTE = 1024 * 1024
# Octets that are left on the Maildir's disk; a letter takes 4 KiB of it.
ROOM = LETTERS * 1024

# What is the same in both designs, and takes its time; and what only one of them has.
IN_ONE_DESIGN = pytest.mark.parametrize("start", ["lmtp"], indirect=True)
WITH_MILTER = pytest.mark.parametrize("start", ["milter"], indirect=True)


@pytest.fixture
def disk() -> Iterator[Path]:
    """A file system of its own, of 24 MiB."""
    yield from disk_of(24)


@pytest.fixture
def big_disk() -> Iterator[Path]:
    """The same with room for a database of PostgreSQL's."""
    yield from disk_of(64)


def disk_of(megabytes: int) -> Iterator[Path]:
    try:
        with small_disk(megabytes) as path:
            yield path
    except FullDisk as reason:
        # A right of the machine's, not a service: it may be missing in CI too.
        pytest.skip(str(reason))


def other_mail_goes_on(rig: Rig) -> None:
    """Mail that is not ours to judge takes its way, whatever is wrong with us."""
    before = sum(each.recipient == OTHER for each in rig.sink.arrived)
    with smtplib.SMTP("127.0.0.1", rig.ports.smtp, local_hostname="sender.test", timeout=30) as client:
        client.sendmail("eve@sender.test", [OTHER], b"Subject: Other\r\n\r\nHi\r\n")
    wait_until(
        lambda: sum(each.recipient == OTHER for each in rig.sink.arrived) > before, ANSWER, "other mail"
    )


def test_the_database_is_stopped_and_started_again(start: Start, senders: Send) -> None:
    with start() as rig:
        sending = senders(rig)
        sending.wait_for(UNDERWAY)

        assert isinstance(rig.database, Database)
        rig.database.server.stop()
        code, seconds = rcpt(rig.ports.smtp, next(iter(rig.database.aliases)))
        other_mail_goes_on(rig)
        time.sleep(1)
        rig.database.server.start()
        back = time.monotonic()

        found = settle(rig, sending)
        recovery = sending.first_after(back)
        check("database stopped", rig, sending, found, recovery)
        assert 400 <= code < 500
        assert seconds < ANSWER
        assert recovery < RECOVERY


def test_the_database_hangs_for_six_seconds(start: Start, senders: Send) -> None:
    with start() as rig:
        sending = senders(rig)
        sending.wait_for(UNDERWAY)

        assert isinstance(rig.database, Database)
        rig.database.server.freeze()
        hung = time.monotonic()
        try:
            code, seconds = rcpt(rig.ports.smtp, next(iter(rig.database.aliases)))
            other_mail_goes_on(rig)
            time.sleep(max(0.0, hung + 6 - time.monotonic()))
        finally:
            rig.database.server.thaw()
        back = time.monotonic()

        found = settle(rig, sending)
        recovery = sending.first_after(back)
        fault = f"database hung (answer after {seconds:.1f} s)"
        # What it was about to commit when it hung, it commits.
        check(fault, rig, sending, found, recovery, recounted=MAIL_MESSAGES_AT_ONCE)
        assert 400 <= code < 500
        assert seconds < ANSWER
        assert recovery < RECOVERY


def test_the_mail_server_is_killed_repeatedly(start: Start, senders: Send) -> None:
    killed_repeatedly(start(), senders)


@IN_ONE_DESIGN
def test_the_mail_server_over_sqlite_is_killed_repeatedly(
    start: Start, senders: Send, new_file: Callable[[Path], File], tmp_path: Path
) -> None:
    killed_repeatedly(start(new_file(tmp_path)), senders)


def killed_repeatedly(starting: AbstractContextManager[Rig], senders: Send) -> None:
    with starting as rig:
        sending = senders(rig, portions=KILLS + 1)
        longest = again_and_again(rig, sending, KILLS, killed)

        found = settle(rig, sending)
        most = MAIL_MESSAGES_AT_ONCE * KILLS
        check(f"killed {KILLS} times", rig, sending, found, longest, doubles=most, recounted=most)
        if rig.design == "milter":
            # What Postfix itself sends on arrives once: a letter whose answer was lost was not queued.
            handed_over = {to for tos in rig.database.aliases.values() if len(tos) > 1 for to in tos}
            assert {to for (_letter, to), number in found.copies.items() if number > 1} <= handed_over


# Seconds for which the database takes no changes.
UNWRITABLE = 6.0


def takes_no_changes_for_a_while(
    fault: str,
    starting: AbstractContextManager[Rig],
    senders: Send,
    begin: Callable[[Rig], AbstractContextManager[None]],
) -> None:
    with starting as rig:
        sending = senders(rig)
        sending.wait_for(UNDERWAY)

        with begin(rig):
            # What was underway ends; what it takes to notice, too.
            wait_until(lambda: nothing_arrives_for(rig, UNWRITABLE / 3), DRAINED, "an end of what arrives")
            before = len(rig.sink.arrived)
            time.sleep(UNWRITABLE / 2)
            assert len(rig.sink.arrived) <= before + MAIL_MESSAGES_AT_ONCE
        back, before = time.monotonic(), len(rig.sink.arrived)
        wait_until(lambda: len(rig.sink.arrived) > before, 60, "mail at the far end")
        recovery = time.monotonic() - back

        check(fault, rig, sending, settle(rig, sending), recovery)
        assert recovery < RECOVERY


def nothing_arrives_for(rig: Rig, seconds: float) -> bool:
    before = len(rig.sink.arrived)
    time.sleep(seconds)
    return len(rig.sink.arrived) == before


def test_the_database_takes_no_changes(start: Start, senders: Send) -> None:
    def begin(rig: Rig) -> AbstractContextManager[None]:
        assert isinstance(rig.database, Database)
        return rig.database.takes_no_changes()

    takes_no_changes_for_a_while("read-only", start(), senders, begin)


def test_the_disk_of_the_database_is_full(
    start: Start, senders: Send, new_database: Callable[[], Database], big_disk: Path
) -> None:
    database = new_database()
    database.move_to(big_disk)
    try:
        takes_no_changes_for_a_while(
            "disk of the database full", start(database), senders, lambda rig: full(big_disk)
        )
    finally:
        database.leave()


def test_the_disk_of_sqlite_is_full(
    start: Start, senders: Send, new_file: Callable[[Path], File], disk: Path
) -> None:
    takes_no_changes_for_a_while(
        "disk of the database full", start(new_file(disk)), senders, lambda rig: full(disk)
    )


def test_another_process_locks_sqlite(
    start: Start, senders: Send, new_file: Callable[[Path], File], tmp_path: Path
) -> None:
    file = new_file(tmp_path)
    takes_no_changes_for_a_while("locked", start(file), senders, lambda rig: file.locked())


def replaced(rig: Rig, victim: int, patience: float) -> float:
    """Kill one of two processes; the seconds until another one has taken its place."""
    os.kill(victim, signal.SIGKILL)
    return wait_until(
        lambda: victim not in (now := rig.mail.children()) and len(now) == 2,
        patience + PAUSE_MAX,
        "another process",
    )


def test_one_of_two_processes_is_killed_repeatedly(start: Start, senders: Send) -> None:
    def one_killed(rig: Rig, sending: Senders) -> float:
        go_on(rig, sending)
        victim, _other = rig.mail.children()
        return replaced(rig, victim, 60)

    with start(MAIL_PROCESSES="2", MAIL_QUESTIONS_APART="no") as rig:
        wait_until(lambda: len(rig.mail.children()) == 2, 60, "two processes")
        sending = senders(rig, portions=KILLS + 1)
        longest = again_and_again(rig, sending, KILLS, one_killed)

        found = settle(rig, sending)
        fault, most = f"one of two killed {KILLS} times", MAIL_MESSAGES_AT_ONCE * KILLS
        check(fault, rig, sending, found, longest, doubles=most, recounted=most)


@IN_ONE_DESIGN
def test_the_process_that_answers_questions_is_killed_repeatedly(start: Start, senders: Send) -> None:
    def questions_killed(rig: Rig, sending: Senders) -> float:
        go_on(rig, sending)
        messages, questions = rig.mail.children()
        seconds = replaced(rig, questions, 10)
        assert messages in rig.mail.children()
        return seconds

    with start() as rig:
        wait_until(lambda: len(rig.mail.children()) == 2, 10, "two processes")
        sending = senders(rig, portions=KILLS + 1)
        longest = again_and_again(rig, sending, KILLS, questions_killed)

        found = settle(rig, sending)
        check(f"questions' process killed {KILLS} times", rig, sending, found, longest)


def test_the_far_end_is_down_and_up(start: Start, senders: Send) -> None:
    with start() as rig:
        sending = senders(rig)
        sending.wait_for(UNDERWAY)

        rig.far.shut()
        time.sleep(2)
        before = len(rig.sink.arrived)
        rig.far.open()
        recovery = wait_until(lambda: len(rig.sink.arrived) > before, 60, "mail at the far end")

        check("far end down", rig, sending, settle(rig, sending), recovery)
        assert recovery < RECOVERY


def test_the_next_hop_is_down_and_up(start: Start, senders: Send) -> None:
    with start(MAIL_NEXT_HOP="smtp://127.0.0.1:{sink}") as rig:
        sending = senders(rig)
        sending.wait_for(UNDERWAY)

        rig.far.shut()
        time.sleep(2)
        before = len(rig.sink.arrived)
        rig.far.open()
        recovery = wait_until(lambda: len(rig.sink.arrived) > before, 60, "mail at the far end")

        check("next hop down", rig, sending, settle(rig, sending), recovery)
        assert recovery < RECOVERY


def test_postfix_takes_nothing_back_for_a_while(start: Start, senders: Send) -> None:
    with start() as rig:
        sending = senders(rig)
        sending.wait_for(UNDERWAY)

        with without_service(rig, f"127.0.0.1:{rig.ports.reinjection}"):
            time.sleep(2)
            before = len(rig.sink.arrived)
        recovery = wait_until(lambda: len(rig.sink.arrived) > before, 60, "mail at the far end")

        # Postfix ends a service that it no longer has at once: what that one took and had no time to
        # answer for is sent again.
        found = settle(rig, sending)
        check("re-injection down", rig, sending, found, recovery, doubles=MAIL_MESSAGES_AT_ONCE)
        assert recovery < RECOVERY


@contextmanager
def without_service(rig: Rig, name: str) -> Iterator[None]:
    """Postfix without that service of its master.cf while the block runs."""
    path = rig.postfix.directory / "master.cf"
    whole = path.read_text()
    service = re.compile(rf"^{re.escape(name)} .*\n(?:[ \t]+.*\n)*", re.MULTILINE)
    without, found = service.subn("", whole)
    assert found == 1
    try:
        path.write_text(without)
        rig.postfix.command("postfix", "reload")
        yield
    finally:
        path.write_text(whole)
        rig.postfix.command("postfix", "reload")


@IN_ONE_DESIGN
def test_the_disk_of_the_maildir_is_full(start: Start, senders: Send, disk: Path) -> None:
    maildir, ballast = disk / "mail", disk / "ballast"
    with start(MAIL_NEXT_HOP=f"maildir://{maildir}") as rig:
        ballast.write_bytes(b"x" * (24 * MEBIBYTE - ROOM))
        sending = senders(rig)
        wait_until(lambda: shutil.disk_usage(disk).free < 8192, 120, "a full disk")

        time.sleep(2)
        while_full = read_maildir(maildir)
        ballast.unlink()
        before = len(while_full)
        recovery = wait_until(lambda: len(list((maildir / "new").iterdir())) > before, 60, "mail again")

        found = settle(rig, sending, maildir)
        check("disk full", rig, sending, found, recovery)
        assert recovery < RECOVERY
        assert not account(sending.letters, rig.database.aliases, while_full).damaged
        assert list((maildir / "tmp").iterdir()) == []


@IN_ONE_DESIGN
def test_the_policy_service_does_not_answer(start: Start, senders: Send) -> None:
    with start(MAIL_POLICY_LISTEN="") as rig, rig.another_mail_server("MAIL_POLICY_LISTEN") as policy:
        sending = senders(rig)
        sending.wait_for(UNDERWAY)

        policy.freeze()
        try:
            code, seconds = rcpt(rig.ports.smtp, next(iter(rig.database.aliases)))
        finally:
            policy.thaw()
        back = time.monotonic()

        found = settle(rig, sending)
        recovery = sending.first_after(back)
        check(f"no policy (answer after {seconds:.1f} s)", rig, sending, found, recovery)
        assert code == 451
        assert seconds < POLICY_TIMEOUT
        assert recovery < RECOVERY


def test_the_whole_mail_server_hangs_for_six_seconds(start: Start, senders: Send) -> None:
    with start() as rig:
        sending = senders(rig)
        sending.wait_for(UNDERWAY)

        rig.mail.freeze()
        time.sleep(6)
        rig.mail.thaw()
        back = time.monotonic()

        found = settle(rig, sending)
        recovery = sending.first_after(back)
        # What it was about to answer, Postfix no longer waits for.
        check("mail server hung", rig, sending, found, recovery, recounted=MAIL_MESSAGES_AT_ONCE)
        assert recovery < RECOVERY


@WITH_MILTER
def test_the_milter_does_not_answer(start: Start, senders: Send) -> None:
    with start(MAIL_MILTER_LISTEN="") as rig, rig.another_mail_server("MAIL_MILTER_LISTEN") as milter:
        sending = senders(rig)
        sending.wait_for(UNDERWAY)

        milter.freeze()
        try:
            code, seconds = first_refusal(rig.ports.smtp, next(iter(rig.database.aliases)))
        finally:
            milter.thaw()
        back = time.monotonic()

        found = settle(rig, sending)
        recovery = sending.first_after(back)
        fault = f"milter frozen (answer after {seconds:.1f} s)"
        check(fault, rig, sending, found, recovery, recounted=MAIL_MESSAGES_AT_ONCE)
        assert code == 451
        assert seconds < ANSWER
        assert recovery < RECOVERY


def first_refusal(port: int, recipient: str) -> tuple[int, float]:
    """The first answer that refuses a new session, and the seconds from its beginning."""
    began = time.monotonic()
    with smtplib.SMTP("127.0.0.1", port, local_hostname="sender.test", timeout=60) as client:
        steps = (client.ehlo, lambda: client.mail("probe@sender.test"), lambda: client.rcpt(recipient))
        codes = (step()[0] for step in steps)
        return next((code for code in codes if code >= 400), 0), time.monotonic() - began


def test_postfix_is_killed(start: Start, senders: Send) -> None:
    with start() as rig:
        sending = senders(rig)
        sending.wait_for(UNDERWAY)

        rig.postfix.kill()
        time.sleep(1)
        back = time.monotonic()
        rig.postfix.start()

        found = settle(rig, sending)
        recovery = sending.first_after(back)
        # A sender that has heard no answer sends again what may be queued already; so does Postfix with what
        # the next server had no time to answer for, and our server with what it was handing back.
        most = THREADS + DELIVERIES + MAIL_MESSAGES_AT_ONCE
        # The alias with two destinations counts each of them.
        again = 2 * THREADS
        check("Postfix killed", rig, sending, found, recovery, most, recounted=most, sent_again=again)
        assert recovery < RECOVERY


@pytest.fixture
def small_queue(disk: Path) -> Iterator[Running]:
    """A Postfix with the milter, whose queue is on a small file system that it lets fill up."""
    disk.chmod(0o755)
    # It takes no message without room for one and a half of the limit.
    with override_settings(MAIL_SIZE_LIMIT=10_000):
        yield from run_postfix(
            lambda: fresh(with_milter=True), queue_directory=str(disk / "queue"), queue_minfree="0"
        )


# Times that the disk of Postfix's queue is full for a moment.
FILLINGS = 15


def test_the_disk_of_postfixs_queue_is_full(
    small_queue: Running, new_database: Callable[[], Database], senders: Send, disk: Path
) -> None:
    """Also after our yes: the letter is not queued, and comes again."""
    postfix, ports = small_queue
    with running("milter", postfix, ports, new_database()) as rig:
        sending = senders(rig)
        for number in range(FILLINGS):
            sending.wait_for(UNDERWAY // 3 * (number + 1), 120)
            with full(disk):
                time.sleep(0.3)
        back = time.monotonic()

        found = settle(rig, sending)
        recovery = sending.first_after(back)
        # A sender's letter fails once in each of them, or again while it is still full.
        check("disk of Postfix's queue full", rig, sending, found, recovery, recounted=LETTERS)
        assert recovery < RECOVERY


def test_a_letter_that_postfix_cannot_queue_after_our_yes_comes_again(
    small_queue: Running,
    alice: User,
    transactional_db: None,
    settings: Settings,
    disk: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its sender is told to try again, and what it sends again is not taken for one that is on its way."""
    alias, sent, failed, redirect = issue(alice), [], 0, Forwarder.redirect
    with contextmanager(run_site)(*small_queue, settings) as site:
        # What we change has to go into another block of the disk than what Postfix has written by then.
        for octets in range(1000, 4000, 100):
            content = MESSAGE + b"x" * (octets // 2) + b"\r\n" + b"y" * (octets // 2) + b"\r\n"
            with ExitStack() as until_told, monkeypatch.context() as patch:

                async def say_yes(*args: Any, until_told: ExitStack = until_told) -> Redirection | None:
                    found = await redirect(*args)
                    await asyncio.to_thread(until_told.enter_context, full(disk))
                    return found

                patch.setattr(Forwarder, "redirect", say_yes)
                told = send(site, alias.address, content=content)
            if told.data[0].startswith("4"):
                failed += 1
                told = send(site, alias.address, content=content)
            assert told.data[0].startswith("250")
            sent.append(content)

        arrived = settled(site, len(sent))
    assert failed  # or this would prove nothing
    assert all(each.content.endswith(content) for each, content in zip(arrived, sent, strict=True))
    assert figures(alias) == (len(sent) + failed, 0)
