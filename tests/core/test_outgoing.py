"""Requests to addresses that people have named: where they may go, and how long they may take."""

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path

import pytest
from pytest_django import Settings

from core import outgoing
from core.outgoing import Answer, NotAllowed, Unreachable, may_be_asked, read_url, request
from tests.rig.certificates import pair
from tests.rig.nameserver import Nameserver, nameserver

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class Server:
    """An HTTPS server for keys.example.com on this machine, which does with each connection what it is told.
    `asked`: the octets that came first; `times`: how many connections there were."""

    def __init__(self, directory: Path, serve: Callable[[ssl.SSLSocket], None], name: str) -> None:
        certificate, key = pair(name)
        self.authorities = str(directory / "ca.pem")
        Path(self.authorities).write_bytes(certificate)
        both = directory / "server.pem"
        both.write_bytes(certificate + key)
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(both)
        self.serve, self.asked, self.times = serve, b"", 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while True:
            try:
                plain, _address = self.listener.accept()
            except OSError:
                return
            self.times += 1
            plain.settimeout(60)
            with suppress(OSError), self.context.wrap_socket(plain, server_side=True) as secure:
                self.asked = secure.recv(65536)
                # A body may come on its own. What nobody has read when this closes would cut off the answer.
                head, _end, body = self.asked.partition(b"\r\n\r\n")
                if length := re.search(rb"(?i)content-length: (\d+)", head):
                    secure.recv(int(length[1]) - len(body))
                self.serve(secure)

    def end(self) -> None:
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)


@pytest.fixture
def names(settings: Settings) -> Iterator[Nameserver]:
    with nameserver({"keys.example.com": ["A 127.0.0.1"]}) as server:
        settings.DNS_RESOLVERS = [f"127.0.0.1:{server.port}"]
        yield server


@contextmanager
def serving(
    directory: Path, serve: Callable[[ssl.SSLSocket], None], name: str = "keys.example.com"
) -> Iterator[Server]:
    server = Server(directory, serve, name)
    try:
        yield server
    finally:
        server.end()


def saying(octets: bytes) -> Callable[[ssl.SSLSocket], None]:
    return lambda secure: secure.sendall(octets)


def ask(server: Server, path: str = "/key?a=b", seconds: float = 30, octets_max: int = 1000) -> Answer:
    return request(
        f"https://keys.example.com:{server.port}{path}",
        octets_max=octets_max,
        seconds=seconds,
        allows_private=True,
        authorities=server.authorities,
    )


@pytest.mark.parametrize(
    "text",
    [
        *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.8.8.8"),  # noqa: S104
        *("169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.168.0.1"),
        *("198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1"),
        *("255.255.255.255", "168.63.129.16", "::", "::1", "::ffff:8.8.8.8", "::ffff:127.0.0.1"),
        *("::10.0.0.1", "fe80::1", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "ff0e::1"),
        *("2002:7f00:1::", "2001::1", "2001:db8::1", "3fff::1", "64:ff9b::7f00:1", "64:ff9b:1::a00:1"),
        *("100::1", "5f00::1", "4000::1"),
    ],
)
def test_an_address_that_is_not_public_is_never_asked(text: str) -> None:
    assert not may_be_asked(ip_address(text))


@pytest.mark.parametrize("text", ["8.8.8.8", "1.1.1.1", "172.32.0.1", "192.0.1.1", "2606:4700::1", "2a00::1"])
def test_a_public_address_may_be_asked(text: str) -> None:
    assert may_be_asked(ip_address(text))


@pytest.mark.parametrize("text", ["10.0.0.1", "192.168.1.1", "100.64.0.1", "127.0.0.1", "::1", "fd12::1"])
def test_a_private_network_may_be_allowed(text: str) -> None:
    assert may_be_asked(ip_address(text), allows_private=True)


@pytest.mark.parametrize(
    "text",
    ["169.254.169.254", "fe80::1", "fd00:ec2::254", "100.100.100.200", "0.0.0.0", "224.0.0.1", "::"],  # noqa: S104
)
def test_metadata_and_multicast_are_not_among_what_may_be_allowed(text: str) -> None:
    assert not may_be_asked(ip_address(text), allows_private=True)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://example.com/",
            "ftp://example.com/",
            "file:///etc/passwd",
            "gopher://example.com/",
            "",
            "x",
        ),
        *("https://", "https:///path", "https://user:pw@example.com/", "https://@example.com/"),
        *("https://example.com\r\nX: y/", "https://example.com/a b", "https://example.com/\x00"),
        *("https://example.com\\@127.0.0.1/", "https://example.com/#part", "https://exämple.com/ü"),
        *("https://example.com:25/", "https://example.com:0/", "https://example.com:99999/", "https://a:b/"),
        *("https://localhost/", "https://2130706433/", "https://127.1/", "https://0x7f.0.0.1/"),
        *("https://[::1", "https://[fe80::1%25eth0]/", "https://exa mple.com/", "https://-a.example/"),
        "https://example.com/" + "a" * 2000,
    ],
)
def test_a_url_that_is_not_plain_https_is_refused_before_anything_is_asked(
    url: str, names: Nameserver
) -> None:
    with pytest.raises(NotAllowed):
        request(url, octets_max=10, seconds=1)

    assert names.asked == []


def test_a_url_is_read_into_host_port_and_target() -> None:
    assert read_url("https://Example.COM") == ("example.com", 443, "/")
    assert read_url("https://example.com:8443/a/b?c=d") == ("example.com", 8443, "/a/b?c=d")
    assert read_url("https://[2606:4700::1]/") == ("2606:4700::1", 443, "/")
    assert read_url("https://n8n:5678/hook", allows_private=True) == ("n8n", 5678, "/hook")


def test_an_answer_comes_from_the_server_that_the_name_leads_to(tmp_path: Path, names: Nameserver) -> None:
    with serving(tmp_path, saying(OK)) as server:
        answer = ask(server)

    assert answer == Answer(200, b"hello", is_cut=False)
    assert server.asked.startswith(b"GET /key?a=b HTTP/1.1\r\n")
    assert f"Host: keys.example.com:{server.port}\r\n".encode() in server.asked


def test_a_body_and_fields_go_along(tmp_path: Path, names: Nameserver) -> None:
    with serving(tmp_path, saying(OK)) as server:
        request(
            f"https://keys.example.com:{server.port}/",
            method="POST",
            body=b'{"a": 1}',
            headers={"webhook-id": "msg_1"},
            octets_max=10,
            seconds=5,
            allows_private=True,
            authorities=server.authorities,
        )

    assert server.asked.startswith(b"POST / HTTP/1.1\r\n")
    assert b"webhook-id: msg_1\r\n" in server.asked


@pytest.mark.parametrize("name", ["x\r\nEvil", "x"])
def test_a_field_cannot_bring_another_one(tmp_path: Path, names: Nameserver, name: str) -> None:
    with serving(tmp_path, saying(OK)) as server, pytest.raises(Unreachable):
        request(
            f"https://keys.example.com:{server.port}/",
            headers={name: "a\r\nb: c"},
            octets_max=10,
            seconds=5,
            allows_private=True,
            authorities=server.authorities,
        )

    assert b"b: c" not in server.asked


def test_a_private_host_is_not_asked_unless_that_is_allowed(tmp_path: Path, names: Nameserver) -> None:
    with serving(tmp_path, saying(OK)) as server, pytest.raises(NotAllowed, match="address"):
        request(f"https://keys.example.com:{server.port}/", octets_max=10, seconds=5)

    assert server.times == 0


def test_one_private_address_among_public_ones_is_enough_to_refuse(names: Nameserver) -> None:
    names.set("keys.example.com", "A 192.0.1.1", "A 10.0.0.1")

    with pytest.raises(NotAllowed, match="address"):
        request("https://keys.example.com/", octets_max=10, seconds=1)


def test_the_name_is_resolved_once_and_the_connection_goes_there(
    tmp_path: Path, names: Nameserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: what a second question would answer does not matter."""
    asked = []

    def once(host: str, seconds: float) -> list[outgoing.Address]:
        asked.append(host)
        names.set("keys.example.com", "A 10.0.0.1")
        return [ip_address("127.0.0.1")]

    monkeypatch.setattr(outgoing, "resolve", once)
    with serving(tmp_path, saying(OK)) as server:
        assert ask(server).status == 200

    assert asked == ["keys.example.com"]
    assert names.asked == []


def test_another_address_is_tried_if_the_first_one_does_not_answer(
    tmp_path: Path, names: Nameserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        outgoing, "resolve", lambda host, seconds: [ip_address("127.0.0.9"), ip_address("127.0.0.1")]
    )
    with serving(tmp_path, saying(OK)) as server:
        assert ask(server).status == 200


def test_a_certificate_for_another_name_is_refused(tmp_path: Path, names: Nameserver) -> None:
    with (
        serving(tmp_path, saying(OK), name="other.example.com") as server,
        pytest.raises(Unreachable, match="certificate"),
    ):
        ask(server)

    assert server.asked == b""


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path, names: Nameserver) -> None:
    with serving(tmp_path, saying(OK)) as server, pytest.raises(Unreachable, match="certificate"):
        request(f"https://keys.example.com:{server.port}/", octets_max=10, seconds=5, allows_private=True)

    assert server.asked == b""


def test_a_redirect_is_an_answer_and_is_not_followed(tmp_path: Path, names: Nameserver) -> None:
    where = b"HTTP/1.1 302 Found\r\nLocation: https://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"
    with serving(tmp_path, saying(where)) as server:
        answer = ask(server)

    assert answer.status == 302
    assert server.times == 1


def test_content_is_cut_at_its_limit(tmp_path: Path, names: Nameserver) -> None:
    endless = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 200_000
    with serving(tmp_path, saying(endless)) as server:
        answer = ask(server, octets_max=100)

    assert answer == Answer(200, b"x" * 100, is_cut=True)


def test_content_is_never_decompressed(tmp_path: Path, names: Nameserver) -> None:
    bomb = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00"
    with serving(tmp_path, saying(bomb)) as server:
        assert ask(server).content == b"\x1f\x8b\x08\x00"

    assert b"Accept-Encoding: identity\r\n" in server.asked


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000,
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
)
def test_what_is_no_answer_is_refused(tmp_path: Path, names: Nameserver, octets: bytes) -> None:
    with serving(tmp_path, saying(octets)) as server, pytest.raises(Unreachable):
        ask(server)


def test_a_server_that_says_little_at_a_time_is_left_when_the_time_is_over(
    tmp_path: Path, names: Nameserver
) -> None:
    def drip(secure: ssl.SSLSocket) -> None:
        secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _each in range(1000):
            secure.sendall(b"x")
            time.sleep(0.05)

    began = time.monotonic()
    with serving(tmp_path, drip) as server:
        with pytest.raises(Unreachable, match="timeout"):
            ask(server, seconds=0.5)
        took = time.monotonic() - began

    assert took < 20  # Its content would take fifty seconds.


def test_a_server_that_says_nothing_is_left_when_the_time_is_over(tmp_path: Path, names: Nameserver) -> None:
    is_left = threading.Event()

    def say_nothing(secure: ssl.SSLSocket) -> None:
        is_left.wait(60)

    with serving(tmp_path, say_nothing) as server:
        with pytest.raises(Unreachable, match="timeout"):
            ask(server, seconds=2)
        is_left.set()


def test_a_server_that_does_not_speak_tls_is_left_when_the_time_is_over(names: Nameserver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(Unreachable, match="timeout"):
        request(
            f"https://keys.example.com:{silent.getsockname()[1]}/",
            octets_max=10,
            seconds=0.3,
            allows_private=True,
        )


def test_a_name_without_addresses_is_unreachable(names: Nameserver) -> None:
    with pytest.raises(Unreachable, match="dns"):
        request("https://nowhere.example.com/", octets_max=10, seconds=1)


def test_a_reason_names_no_address(names: Nameserver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    with pytest.raises(Unreachable) as raised:
        request(f"https://keys.example.com:{port}/", octets_max=10, seconds=1, allows_private=True)

    assert "127.0.0.1" not in str(raised.value)
    assert "example" not in str(raised.value)
