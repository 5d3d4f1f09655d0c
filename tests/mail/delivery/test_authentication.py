"""Authentication-Results: a trusted server's words count, anybody else's do not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from mail.delivery.authentication import NOTHING, Authentication, is_aligned, results


@pytest.fixture(autouse=True)
def _trusted(settings: Settings) -> None:
    settings.MAIL_AUTHSERV_IDS = ["MX.example.com"]


def read(*texts: str) -> Authentication:
    return results([("received", "from x"), *(("authentication-results", text) for text in texts)])


def test_the_results_of_rspamd_are_read() -> None:
    found = read(
        "mx.example.com; dkim=pass header.d=home.test header.s=2024 header.b=AbCd; "
        "spf=pass (mx.example.com: domain of alice@home.test designates 192.0.2.1 as permitted sender) "
        "smtp.mailfrom=alice@home.test; dmarc=pass (policy=reject) header.from=home.test"
    )

    assert found == Authentication(frozenset({"home.test"}), "home.test", "pass", "home.test")
    assert found.is_proven_for("home.test")
    assert not found.is_proven_for("other.test")


def test_the_results_of_opendkim_are_read() -> None:
    found = read(
        "mx.example.com;\tdkim=pass (2048-bit key; secure) header.d=home.test header.i=@home.test "
        "header.a=rsa-sha256 header.b=x; dkim-atps=neutral; "
        'dkim=fail reason="bad; dkim=pass" header.d=evil.test'
    )

    assert found == Authentication(frozenset({"home.test"}))


def test_the_results_of_opendmarc_are_read() -> None:
    found = read("mx.example.com; dmarc=fail (p=reject dis=none) header.from=home.test")

    assert found.is_forged
    assert not found.has_signature_for("home.test")


def test_the_version_and_a_missing_result_are_understood() -> None:
    assert read("mx.example.com 1; none") == NOTHING
    assert read("mx.example.com 1; spf/1=pass smtp.mailfrom=home.test").spf == "home.test"


@pytest.mark.parametrize(
    "text",
    [
        "mx.evil.test; dkim=pass header.d=home.test",
        "mx.example.com.evil.test; dkim=pass header.d=home.test",
        "",
        ";",
    ],
)
def test_a_field_of_another_server_is_not_trusted(text: str) -> None:
    assert read(text) == NOTHING


def test_no_field_is_trusted_unless_a_name_is_configured(settings: Settings) -> None:
    settings.MAIL_AUTHSERV_IDS = []

    assert read("mx.example.com; dkim=pass header.d=home.test") == NOTHING


def test_only_the_topmost_field_of_the_server_counts() -> None:
    """The one below it came with the message."""
    found = read(
        "mx.evil.test; dkim=pass header.d=home.test",
        "mx.example.com; dkim=fail header.d=home.test",
        "mx.example.com; dkim=pass header.d=home.test",
    )

    assert found == NOTHING


@pytest.mark.parametrize(
    "quoted",
    [
        'smtp.mailfrom="x; dkim=pass header.d=home.test ;"@evil.test',
        'smtp.mailfrom=";" dkim="=" pass',
        "smtp.mailfrom=x (; dkim=pass header.d=home.test",
        'smtp.mailfrom="; dkim=pass header.d=home.test',
        "(nested (; dkim=pass) header.d=home.test) smtp.mailfrom=evil.test",
        'reason="\\"; dkim=pass header.d=home.test; x=\\"" smtp.mailfrom=evil.test',
        "x) ; dkim=pass header.d=home.test",
    ],
)
def test_what_a_sender_has_quoted_is_no_result(quoted: str) -> None:
    found = read(f"mx.example.com; spf=pass {quoted}; dmarc=none header.from=evil.test")

    assert found.dkim == frozenset()
    assert found.spf in {"", "evil.test"}


@pytest.mark.parametrize(
    "text",
    [
        'mx.example.com; dkim=pass header.d=home.test; x="',
        "mx.example.com (; dkim=pass header.d=home.test",
        "mx.example.com x y; dkim=pass header.d=home.test",
    ],
)
def test_a_trusted_field_that_is_malformed_vouches_for_nobody(text: str) -> None:
    assert read(text, "mx.example.com; dmarc=pass header.from=home.test").is_forged


def test_two_verdicts_that_disagree_are_not_believed() -> None:
    assert read("mx.example.com; dmarc=pass header.from=a.test; dmarc=fail header.from=b.test").is_forged


@pytest.mark.parametrize(
    ("domain", "author", "aligned"),
    [
        ("home.test", "home.test", True),
        ("mail.home.org", "home.org", True),
        ("home.org", "mail.home.org", True),
        ("xhome.org", "home.org", False),
        ("mail.home.test", "home.test", False),  # no such top-level domain
        ("one.github.io", "two.github.io", False),
        ("co.uk", "shop.co.uk", False),
        ("", "home.test", False),
    ],
)
def test_domains_are_aligned_within_an_organization(domain: str, author: str, aligned: bool) -> None:
    assert is_aligned(domain, author) is aligned


@given(st.text(alphabet='();=" \\ab.@1', max_size=60))
def test_any_text_is_read(text: str) -> None:
    read(f"mx.example.com; {text}")
