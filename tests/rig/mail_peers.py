"""Peers of the mail server's doors, spoken in octets: what is well-formed and what is not."""

import select
import socket
from contextlib import ExitStack, suppress

Places = dict[str, tuple[str, int]]
DOORS = ("smtp", "lmtp", "policy", "socketmap")
MESSAGE = b"Received: by mx.test id 1\r\nFrom: Bob <bob@sender.test>\r\nSubject: Hi\r\n\r\nHello\r\n"
HELLO = {"smtp": b"EHLO x.test\r\n", "lmtp": b"LHLO x.test\r\n"}
POLICY = b"request=smtpd_access_policy\nprotocol_state=RCPT\nsender=bob@sender.test\nrecipient=%b\n\n"
GOOD = {
    "smtp": (b"NOOP\r\n", b"250 OK\r\n"),
    "lmtp": (b"NOOP\r\n", b"250 OK\r\n"),
    "policy": (POLICY % b"bob@elsewhere.test", b"action=DUNNO\n\n"),
    "socketmap": (b"27:recipients a@elsewhere.test,", b"9:NOTFOUND ,"),
}
UNKNOWN = b"550 5.1.1 User unknown"
# Seconds: the time limits of the fixture `impatient`.
TIMEOUT = 0.6


class Peer:
    """One connection, spoken in octets. `source`: another address of loopback is another client."""

    def __init__(self, place: tuple[str, int], receive_buffer: int = 0, source: str = "") -> None:
        self.socket = socket.socket()
        if source:
            self.socket.bind((source, 0))
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(20)
        self.socket.connect(place)
        self.stream = self.socket.makefile("rb")

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_error: object) -> None:
        self.stream.close()
        self.socket.close()

    def say(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def say_no_more(self) -> None:
        """Close this half of the connection, which the other side may have ended already."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def reply(self) -> bytes:
        """One reply of SMTP's, its last line."""
        line = b""
        while line[3:4] in {b"-", b""}:
            line = self.stream.readline()
            if not line:
                return b""
        return line.rstrip(b"\r\n")

    def replies(self, number: int) -> list[bytes]:
        return [self.reply() for _ in range(number)]

    def ask(self, octets: bytes) -> bytes:
        self.say(octets)
        return self.reply()

    def rest(self) -> bytes:
        """All that comes until the other side hangs up."""
        try:
            return self.stream.read()
        except ConnectionError:
            return b""


def greeted(door: str, place: tuple[str, int]) -> Peer:
    """A connection that is past its greeting, where the door has one."""
    peer = Peer(place)
    if door in HELLO:
        assert peer.reply().startswith(b"220 ")
        assert peer.ask(HELLO[door]).startswith(b"250 ")
    return peer


def is_served(door: str, place: tuple[str, int], number: int = 1) -> bool:
    """Whether so many clients at once are answered."""
    question, answer = GOOD[door]
    with ExitStack() as stack:
        for _ in range(number):
            peer = stack.enter_context(Peer(place))
            try:
                if door in HELLO and not peer.reply().startswith(b"220 "):
                    return False
                peer.say(question)
                if peer.stream.read(len(answer)) != answer:
                    return False
            except ConnectionError:
                return False
    return True


def has_hung_up(peer: Peer) -> bool:
    """Whether the other side has ended the connection, whatever of its answers was not read."""
    poll = select.poll()
    poll.register(peer.socket, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))


def transaction(recipient: str, content: bytes = MESSAGE, sender: bytes = b"bob@sender.test") -> bytes:
    """A whole transaction after the greeting, as a client would write it in one go."""
    stuffed = (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:]
    return b"MAIL FROM:<%b>\r\nRCPT TO:<%b>\r\nDATA\r\n%b.\r\n" % (sender, recipient.encode(), stuffed)


def report(status: bytes = b"5.1.1", human: bytes = b"Sorry.", returned: bytes = b"Subject: Hi\r\n") -> bytes:
    """A delivery status notification (RFC 3464) for a recipient that failed."""
    return (
        b'From: MAILER-DAEMON@far.test\r\nContent-Type: multipart/report; boundary="b"\r\n\r\n'
        b"--b\r\nContent-Type: text/plain\r\n\r\n" + human + b"\r\n"
        b"--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; far.test\r\n\r\n"
        b"Final-Recipient: rfc822; gone@far.test\r\nAction: failed\r\nStatus: " + status + b"\r\n\r\n"
        b"--b\r\nContent-Type: message/rfc822\r\n\r\n" + returned + b"\r\n--b--\r\n"
    )
