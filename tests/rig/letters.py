"""Letters that many senders hand to Postfix at once, and the account of those that arrived."""

import itertools
import re
import smtplib
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

THREADS = 8
LETTERS = 1000
# Postfix can take a process that is busy for one that is free, once its services have changed: whoever
# waits gets a turn when that one's client goes.
LETTERS_PER_CONNECTION = 20


@dataclass(frozen=True)
class Letter:
    """One message: its number is in its subject, and it says where it ends.

    `more`: fields on top. `is_rewritten`: only its body arrives as it was sent.
    """

    number: int
    recipient: str
    sender: str = "eve@sender.test"
    more: str = ""
    is_rewritten: bool = False

    @property
    def content(self) -> bytes:
        host = self.sender.partition("@")[2]
        fields = (
            f"{self.more}From: Eve <{self.sender}>\r\nTo: {self.recipient}\r\n"
            f"Subject: Letter {self.number}\r\nMessage-ID: <{self.number}@{host}>\r\n"
        )
        return fields.encode() + self._body

    @property
    def kept(self) -> bytes:
        """What every copy ends with."""
        return self._body if self.is_rewritten else self.content

    @property
    def _body(self) -> bytes:
        lines = "".join(f"{self.number} {line} {'x' * 60}\r\n" for line in range(8))
        return f"\r\n{lines}End of {self.number}\r\n".encode()


def letters_to(recipients: Sequence[str], number: int = LETTERS, **more: Any) -> list[Letter]:
    """So many letters, to these in turn; `more` are fields of each."""
    return [Letter(each, recipients[each % len(recipients)], **more) for each in range(number)]


class Senders:
    """Send letters to Postfix over a few connections at once; what is not accepted is tried again."""

    def __init__(
        self,
        port: int,
        letters: list[Letter],
        destinations: Mapping[str, list[str]],
        *,
        others: Sequence[int] = (),
        pause: float = 0.0,
        portions: int = 1,
    ) -> None:
        """`destinations`: of each recipient, where its copies arrive. `others`: ports that are as good as the
        first, like the hosts of an MX record. `pause`: seconds after each letter of a connection. `portions`:
        in so many the letters are sent; the next one when told to `go_on`."""
        self.letters, self.destinations = letters, destinations
        self._ports, self._has_others, self._pause = itertools.cycle([port, *others]), bool(others), pause
        self._waiting = deque(self.letters)
        self._portions, self._portion = portions, 1
        self._end = threading.Event()
        # When each one was accepted, in time.monotonic(); and each answer but 250
        self.accepted: list[float] = []
        self.deferred: Counter[str] = Counter()
        self.refused: list[str] = []
        self._threads = [threading.Thread(target=self._send_all) for _ in range(THREADS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Give up what is not sent yet."""
        self._end.set()
        for thread in self._threads:
            thread.join(60)

    @property
    def allowed(self) -> int:
        """How many letters may be sent by now."""
        return len(self.letters) * self._portion // self._portions

    def go_on(self) -> None:
        """Send the next portion too."""
        self._portion += 1

    def join(self, timeout: float) -> None:
        """Wait until every letter is accepted."""
        deadline = time.monotonic() + timeout
        while len(self.accepted) < len(self.letters):
            assert not self.refused, self.refused[:3]
            assert time.monotonic() < deadline, (
                f"{len(self.accepted)} of {len(self.letters)} accepted: {self.deferred}"
            )
            time.sleep(0.05)

    def wait_for(self, number: int, timeout: float = 120) -> None:
        """Wait until so many letters are accepted."""
        wait_until(lambda: len(self.accepted) >= number, timeout, "letters accepted")

    def first_after(self, moment: float) -> float:
        """Seconds from the moment to the first letter accepted after it."""
        return min(each for each in self.accepted if each >= moment) - moment

    def _next(self) -> Letter | None:
        """The next letter that may be sent, if there is one."""
        if len(self.letters) - len(self._waiting) < self.allowed:
            with suppress(IndexError):
                return self._waiting.popleft()
        return None

    def _send_all(self) -> None:
        client: smtplib.SMTP | None = None
        sent = 0
        while not self._end.is_set() and len(self.accepted) < len(self.letters):
            letter = self._next()
            if client is not None and (letter is None or sent >= LETTERS_PER_CONNECTION):
                _quit(client)
                client = None
            if letter is None:
                time.sleep(0.1)
                continue
            try:
                if client is None:
                    client, sent = self._connect(), 0
                client.sendmail(letter.sender, [letter.recipient], letter.content)
                sent += 1
                self.accepted.append(time.monotonic())
                self._end.wait(self._pause)
            except (OSError, smtplib.SMTPException) as error:
                code, words = said(error)
                if code >= 500:
                    self.refused.append(f"{code} {words}")
                else:
                    self.deferred[str(code or words)] += 1
                    self._waiting.append(letter)
                is_kept = isinstance(error, smtplib.SMTPRecipientsRefused) and code != 421
                if not is_kept or self._has_others:
                    if client is not None:
                        client.close()
                    client = None
                self._end.wait(0.3)
        if client is not None:
            _quit(client)

    def _connect(self) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", next(self._ports), local_hostname="sender.test", timeout=60)


def _quit(client: smtplib.SMTP) -> None:
    with suppress(OSError, smtplib.SMTPException):
        client.quit()


def said(error: Exception) -> tuple[int, str]:
    """The answer that made an exception of smtplib's; 0 where the connection failed."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, words = next(iter(error.recipients.values()))
        return code, words.decode(errors="replace")
    if isinstance(error, smtplib.SMTPResponseException):
        words = error.smtp_error
        return error.smtp_code, words.decode(errors="replace") if isinstance(words, bytes) else words
    return 0, type(error).__name__


def wait_until(is_so: Callable[[], Any], timeout: float, what: str) -> float:
    """The seconds until it is so."""
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() - began < timeout, f"{what}: not within {timeout} seconds"
        time.sleep(0.02)
    return time.monotonic() - began


NUMBER = re.compile(rb"^Subject: Letter (\d+)\r?$", re.MULTILINE)


@dataclass
class Account:
    """Each copy that should have arrived, and how often it did."""

    sent: int
    wanted: set[tuple[int, str]]
    copies: Counter[tuple[int, str]] = field(default_factory=Counter)
    damaged: list[int] = field(default_factory=list)
    heads: dict[tuple[int, str], list[str]] = field(default_factory=dict)

    def doubled(self) -> str:
        """The way that each double went: the header of all its copies."""
        heads = [head for key, number in self.copies.items() if number > 1 for head in self.heads[key]]
        return "\n\n".join(heads)

    @property
    def lost(self) -> set[tuple[int, str]]:
        return self.wanted - self.copies.keys()

    @property
    def doubles(self) -> int:
        return self.copies.total() - len(self.copies)


def account(
    letters: list[Letter], destinations: Mapping[str, list[str]], arrived: list[tuple[str, bytes]]
) -> Account:
    """Set what arrived, as (recipient, octets), against what was sent."""
    by_number = {letter.number: letter for letter in letters}
    wanted = {(letter.number, to) for letter in letters for to in destinations[letter.recipient]}
    result = Account(len(letters), wanted)
    for recipient, content in arrived:
        found = NUMBER.search(content)
        number = int(found[1]) if found else -1
        result.copies[number, recipient] += 1
        head = content.partition(b"\r\n\r\n")[0].decode(errors="replace")
        result.heads.setdefault((number, recipient), []).append(head)
        if number not in by_number or not content.endswith(by_number[number].kept):
            result.damaged.append(number)
    return result


def read_maildir(path: Path) -> list[tuple[str, bytes]]:
    """The (recipient, octets) of what lies in a Maildir."""
    contents = [file.read_bytes() for file in (path / "new").iterdir()]
    to = re.compile(rb"^Delivered-To: (\S+)\r?$", re.MULTILINE)
    return [(found[1].decode() if (found := to.search(each)) else "", each) for each in contents]
