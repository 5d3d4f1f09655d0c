"""The client's address: a proxy's word counts only where the proxy is trusted."""

import pytest
from allauth.core.internal.ratelimit import truncate_ip
from django.http import HttpRequest, HttpResponse
from pytest_django import Settings

from core.client_address import TrustedProxyMiddleware, client_network, neighbourhood_of, network_of, parse_ip


def seen(
    settings: Settings, trusted: list[str], peer: str, forwarded: str | None, proto: str = "https"
) -> tuple[str, bool]:
    settings.TRUSTED_PROXIES = trusted
    request = HttpRequest()
    request.META = {"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_PROTO": proto}
    if forwarded is not None:
        request.META["HTTP_X_FORWARDED_FOR"] = forwarded
    TrustedProxyMiddleware(lambda request: HttpResponse())(request)
    assert "HTTP_X_FORWARDED_FOR" not in request.META
    return request.META["REMOTE_ADDR"], "HTTP_X_FORWARDED_PROTO" in request.META


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "expected"),
    [
        ([], "198.51.100.1", "192.0.2.1", "198.51.100.1"),
        (["10.0.0.0/8"], "198.51.100.1", "192.0.2.1", "198.51.100.1"),
        (["10.0.0.0/8"], "10.0.0.1", "192.0.2.1", "192.0.2.1"),
        (["10.0.0.0/8"], "10.0.0.1", None, "10.0.0.1"),
        (["10.0.0.0/8"], "10.0.0.1", "203.0.113.9, 192.0.2.1, 10.0.0.2", "192.0.2.1"),
        (["10.0.0.0/8"], "10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        (["10.0.0.0/8"], "10.0.0.1", "192.0.2.1, garbage", "10.0.0.1"),
        (["10.0.0.0/8"], "10.0.0.1", "192.0.2.1, garbage, 10.0.0.2", "10.0.0.2"),
        (["10.0.0.0/8"], "10.0.0.1", "", "10.0.0.1"),
        (["10.0.0.0/8"], "10.0.0.1", ", ,", "10.0.0.1"),
        (["10.0.0.0/8"], "10.0.0.1", "unix", "10.0.0.1"),
        (["10.0.0.0/8"], "", "192.0.2.1", ""),
        (["198.51.100.7"], "198.51.100.1", "192.0.2.1", "198.51.100.1"),
        (["unix", "10.0.0.0/8"], "", "192.0.2.1, 10.0.0.2", "192.0.2.1"),
        (["10.0.0.0/8"], "10.0.0.1", "192.0.2.1:4711", "192.0.2.1"),
        (["10.0.0.0/8"], "10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        (["10.0.0.0/8"], "::ffff:10.0.0.1", "192.0.2.1", "192.0.2.1"),
        (["fd00::/8"], "fd00::1", "2001:db8::1", "2001:db8::1"),
        (["unix"], "", "192.0.2.1", "192.0.2.1"),
        (["unix"], "198.51.100.1", "192.0.2.1", "198.51.100.1"),
        ([], "", "192.0.2.1", ""),
    ],
)
def test_the_client_is_the_last_address_that_no_trusted_proxy_has(
    settings: Settings, trusted: list[str], peer: str, forwarded: str | None, expected: str
) -> None:
    address, keeps_proto = seen(settings, trusted, peer, forwarded)

    assert address == expected
    assert keeps_proto == (address != peer or peer.startswith("10."))


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_a_client_is_an_address_or_a_subscribers_network(address: str, network: str) -> None:
    request = HttpRequest()
    request.META["REMOTE_ADDR"] = address

    assert client_network(request) == network_of(address) == network
    # The sign-in app's limits count the same networks.
    assert truncate_ip("2001:db8:1:2:3:4:5:6") == "2001:db8:1:2::"


@pytest.mark.parametrize("text", ["", "x", "1.2.3", "1.2.3.4.5", "::g", "[::1::]", "unknown", "_hidden"])
def test_garbage_is_no_address(text: str) -> None:
    assert parse_ip(text) is None


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("", ""),
        ("unix", ""),
    ],
)
def test_a_neighbourhood_is_a_larger_network(address: str, network: str) -> None:
    assert neighbourhood_of(address) == network
