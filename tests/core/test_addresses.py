"""Arithmetic on addresses: one form for each, whatever was typed."""

import idna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.addresses import (
    ADDRESS_MAX_OCTETS,
    Address,
    AddressError,
    display_address,
    domain_to_ascii,
    domain_to_unicode,
    normalise_address,
    parse_address,
    parse_without_tag,
)

quick = settings(max_examples=60)

atoms = st.text("abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*/=?^_`{|}~-", min_size=1, max_size=12)
local_parts = st.lists(atoms, min_size=1, max_size=4).map(".".join)
tags = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", max_size=8)
labels = st.from_regex(r"[a-z]([a-z0-9]{0,8}[a-z0-9])?", fullmatch=True)
domains = st.lists(labels, min_size=2, max_size=4).map(".".join)
# Letters that IDNA 2008 maps to themselves
u_labels = st.text("abcdeäöüéèñçøåабвгдежзйλμνξ日本語", min_size=1, max_size=10)
u_domains = st.builds("{}.{}".format, u_labels, labels)
# Whatever people and programs may write: some of it is a domain name
any_labels = st.text(st.characters(categories=["L", "N", "Mn", "Pd"]), min_size=1, max_size=6)
any_domains = st.one_of(
    domains, u_domains, st.builds("{}.{}".format, any_labels, labels), st.text(max_size=40)
)


@quick
@given(local_parts, domains)
def test_an_address_survives_formatting_and_parsing(local_part: str, domain: str) -> None:
    address = Address(local_part, domain)

    assert parse_address(str(address)) == address


@quick
@given(local_parts, any_domains)
def test_normalising_twice_changes_nothing(local_part: str, domain: str) -> None:
    try:
        once = normalise_address(f" {local_part.upper()}@{domain}")
    except AddressError:
        return

    assert normalise_address(once) == once
    assert once.isascii()
    assert once == once.lower()
    assert len(once) <= ADDRESS_MAX_OCTETS


@quick
@given(local_parts, st.one_of(domains, u_domains), st.randoms(use_true_random=False))
def test_case_does_not_matter(local_part: str, domain: str, random: object) -> None:
    written = f"{local_part}@{domain}"
    shouted = "".join(character.upper() if random.random() < 0.5 else character for character in written)  # type: ignore[attr-defined]

    assert normalise_address(shouted) == normalise_address(written)


@quick
@given(u_domains)
def test_u_labels_and_a_labels_are_the_same_domain(name: str) -> None:
    ascii_name = domain_to_ascii(name)

    assert ascii_name.isascii()
    assert domain_to_ascii(ascii_name) == ascii_name
    assert domain_to_ascii(domain_to_unicode(ascii_name)) == ascii_name
    assert domain_to_unicode(ascii_name) == name


@quick
@given(any_domains)
def test_a_domain_name_has_one_form_or_none(text: str) -> None:
    try:
        name = domain_to_ascii(text)
    except AddressError:
        return

    assert domain_to_ascii(name) == name
    assert domain_to_ascii(domain_to_unicode(name)) == name


@pytest.mark.parametrize("label", ["ü" * 64, "㌀" * 60, "a" * 64])
def test_a_label_that_is_too_long_is_not_encoded_first(monkeypatch: pytest.MonkeyPatch, label: str) -> None:
    # The time that it takes grows with the square of the length; ㌀ stands for four letters.
    monkeypatch.setattr(idna, "encode", None)

    with pytest.raises(AddressError):
        domain_to_ascii(f"{label}.example")


@quick
@given(local_parts, tags, domains)
def test_mail_with_a_tag_goes_to_the_address_without(local_part: str, tag: str, domain: str) -> None:
    address = Address(local_part, domain)

    for written in (tag, f"{tag}ü", f"{tag}.", "x" * 70):
        assert parse_without_tag(f"{local_part}+{written}@{domain}") == address
    assert parse_without_tag(str(address)) == address


@pytest.mark.parametrize("tag", ["x", "a b", '\\"x\\"', "\x0bX: 1", "\\\r", "ü"])
def test_a_tag_may_make_a_quoted_string_of_the_address(tag: str) -> None:
    assert parse_without_tag(f'"alice+{tag}"@example.com') == Address("alice", "example.com")
    with pytest.raises(AddressError):
        parse_without_tag(f'"alice {tag}"@example.com')


def test_an_address_that_is_only_a_tag_stays_itself() -> None:
    address = Address("+tag", "example.com")

    assert parse_without_tag("+tag@example.com") == address


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("  Alice@Example.COM ", "alice@example.com"),
        ("alice@bücher.example", "alice@xn--bcher-kva.example"),
        ("alice@BÜCHER.example.", "alice@xn--bcher-kva.example"),
        ("alice@example。com", "alice@example.com"),
        ("o'neil+x@example.com", "o'neil+x@example.com"),
        ("a@1and1.example", "a@1and1.example"),
        (f"{'a' * 64}@example.com", f"{'a' * 64}@example.com"),
    ],
)
def test_each_address_has_one_form(written: str, stored: str) -> None:
    assert normalise_address(written) == stored


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "alice",
        "alice@",
        "@example.com",
        "alice@localhost",
        "alice@192.0.2.7",
        "alice@[192.0.2.7]",
        "alice@[IPv6:2001:db8::1]",
        "alice@example..com",
        "alice@-example.com",
        "alice@exa mple.com",
        "alice@example.com\nbcc: mallory@evil.test",
        "alice\n@example.com",
        "al\x00ice@example.com",
        "a..b@example.com",
        ".a@example.com",
        "a.@example.com",
        '"a b"@example.com',
        "Alice <alice@example.com>",
        "alice@evil.test@",
        "alice@example.com, bob@example.com",
        "ali\u212ae@example.com",  # the Kelvin sign, which lower-cases to k
        "älice@example.com",
        f"{'a' * 65}@example.com",
        f"alice@{'a' * 64}.com",
        f"alice@{'.'.join(['a' * 63] * 4)}.com",
        f"{'a' * 64}@{'.'.join(['b' * 60] * 3)}.example",
        "a" * 100_000,
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        parse_address(text)


def test_people_read_u_labels() -> None:
    assert display_address("alice@xn--bcher-kva.example") == "alice@bücher.example"


def test_an_a_label_that_is_none_is_shown_as_it_is() -> None:
    assert domain_to_unicode("xn--a.example") == "xn--a.example"
