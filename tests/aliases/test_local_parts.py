"""What may be an alias's local part, and what is kept of a web site's name."""

import re
from pathlib import Path
from urllib.parse import quote

import pytest
from django.conf import settings as site_settings
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aliases.local_parts import RESERVED_NAMES, RESERVED_PREFIXES, check_local_part, resolved_form
from aliases.naming import site_label
from aliases.websites import bare_host, note_without_url, parse_site
from core.addresses import AddressError

quick = settings(max_examples=80)

# What a client calls a web site, the host that is stored, and what an alias's name begins with.
SITES = [
    ("www.github.com", "www.github.com", "github"),
    ("HTTPS://WWW.GitHub.COM/", "www.github.com", "github"),
    ("github.com:443", "github.com", "github"),
    ("github.com.", "github.com", "github"),
    ("https://github.com/login?return_to=/secret#top", "github.com", "github"),
    ("https://user:pw@www.test-site.co.uk:8443/x", "www.test-site.co.uk", "testsite"),
    ("user:pw@github.com", "github.com", "github"),
    ("user:pa/ss@github.com", "", ""),
    ("https://github.com%40evil.test/", "evil.test", "evil"),
    (r"https://github.com\@evil.test/", "github.com", "github"),
    ("//cdn.example.net/x", "cdn.example.net", "example"),
    ("https://www%2Egithub%2Ecom/", "www.github.com", "github"),
    ("not%20a%20url", "", ""),
    ("https://bücher.example/regal", "xn--bcher-kva.example", "bucher"),
    ("xn--bcher-kva.example", "xn--bcher-kva.example", "bucher"),
    ("BÜCHER.example", "xn--bcher-kva.example", "bucher"),
    ("www.straße.de", "www.xn--strae-oqa.de", "strasse"),
    ("пример.рф", "xn--e1afmkfd.xn--p1ai", "primer"),
    ("github。com", "github.com", "github"),
    ("www.bbc.co.uk", "www.bbc.co.uk", "bbc"),
    ("co.uk", "co.uk", ""),
    ("alice.github.io", "alice.github.io", "alice"),
    ("github.io", "github.io", "github"),
    ("bucket.s3.amazonaws.com", "bucket.s3.amazonaws.com", "bucket"),
    ("192.0.2.7", "192.0.2.7", ""),
    ("http://192.0.2.7:8080/x", "192.0.2.7", ""),
    ("[2001:DB8::1]:9000", "2001:db8::1", ""),
    ("2001:db8::1", "2001:db8::1", ""),
    ("http://[v1.x]/", "", ""),
    ("localhost:8000", "localhost", ""),
    ("printer.local", "printer.local", "printer"),
    ("androidapp://com.example.app", "com.example.app", "example"),
    ("com.example.app", "com.example.app", "example"),
    ("io.github.com", "io.github.com", "github"),
    (
        "chrome-extension://aapbdbdomjkkjkaonfhkkikfgjllcleb/popup.html",
        "aapbdbdomjkkjkaonfhkkikfgjllcleb",
        "",
    ),
    ("file:///etc/passwd", "", ""),
    ("data:text/html,hello", "", ""),
    ("about:blank", "", ""),
    ("alice@example.com", "example.com", "example"),
    ("mailto:alice@example.com", "example.com", "example"),
    ("a_b.example.com", "a_b.example.com", "example"),
    ("b.com", "b.com", "bcom"),
    ("srs0.com", "srs0.com", ""),
    (
        "a-name-that-goes-on-and-on-and-on.com",
        "a-name-that-goes-on-and-on-and-on.com",
        "anamethatgoesonandonandon",
    ),
    (
        "onenamethatisaslongasalabelcanbewithoutanyneed.com",
        "onenamethatisaslongasalabelcanbewithoutanyneed.com",
        "onenamethatisaslongasalabelcan",
    ),
    ("xn--a.com", "xn--a.com", "a"),
    ("!!!", "", ""),
    ("...", "", ""),
    ("", "", ""),
    ("www.github.io", "www.github.io", "github"),
    ("m.github.io", "m.github.io", "m"),
    ("www.nhs.uk", "www.nhs.uk", "nhs"),
    ("www.gov.uk", "www.gov.uk", "gov"),
    ("gov.uk", "gov.uk", "gov"),
    ("m.gov.uk", "m.gov.uk", "gov"),
    ("www.co.uk", "www.co.uk", "wwwcouk"),
    ("www.com", "www.com", "wwwcom"),
    ("www.", "www", ""),
    ("www.localhost", "www.localhost", ""),
    ("mobile.github.com", "mobile.github.com", "github"),
    ("www.myshopify.com", "www.myshopify.com", "myshopify"),
    ("s3.amazonaws.com", "s3.amazonaws.com", "amazonaws"),
    ("www.公司.香港", "www.xn--55qx5d.xn--j6w193g", "wwwgongsixianggang"),
    ("www.рф", "www.xn--p1ai", "wwwrf"),
    ("support.com", "support.com", "supportcom"),
]


@pytest.mark.parametrize(("site", "host", "label"), SITES)
def test_a_site_becomes_a_host_and_a_label(site: str, host: str, label: str) -> None:
    assert bare_host(site) == host
    assert site_label(parse_site(site)) == label


@pytest.mark.parametrize(
    "site",
    [
        "x" * 10_000,
        "a." * 5_000 + "com",
        "https://" + "u" * 10_000,
        "\x00github.com",
        "git\thub.com",
        "\ud800.com",
    ],
    ids=["long label", "many labels", "long URL", "NUL", "tab", "surrogate"],
)
def test_garbage_gives_nothing(site: str) -> None:
    assert bare_host(site) == ""
    assert site_label(parse_site(site)) == ""


def test_a_long_path_does_not_hide_the_host() -> None:
    assert bare_host("https://github.com/" + "x" * 10_000) == "github.com"


def test_the_documentation_shows_some_of_these_sites() -> None:
    page = Path(site_settings.BASE_DIR, "docs", "aliases.md").read_text(encoding="utf-8")
    table = page.partition("| the client sends |")[2].partition("\n\n")[0]
    shown = re.findall(r"^\| `(.+?)` \| (\S+) \| (\S+) \|$", table, re.MULTILINE)

    assert len(shown) >= 10
    for site, host, label in shown:
        assert (site, host.strip("`–"), label.strip("`–")) in SITES


secret = st.text(
    st.characters(codec="ascii", categories=["L", "N", "P", "S"], exclude_characters="/?#\\@[]"), min_size=1
)
hosts = st.lists(
    st.from_regex(r"[a-z]([a-z0-9-]{0,5}[a-z0-9])?", fullmatch=True), min_size=2, max_size=4
).map(".".join)


@quick
@given(
    scheme=st.sampled_from(["https://", "http://", "ftp://", "//", ""]),
    user=st.one_of(st.just(""), secret),
    password=secret,
    host=hosts,
    port=st.one_of(st.just(""), st.integers(0, 65535).map(":{}".format)),
    path=st.one_of(st.just(""), st.text(max_size=30).map("/{}".format)),
    query=st.one_of(st.just(""), st.text(max_size=30).map("?{}".format)),
    fragment=st.one_of(st.just(""), st.text(max_size=30).map("#{}".format)),
    escaped=st.booleans(),
)
def test_nothing_but_the_host_of_a_url_comes_out(
    scheme: str,
    user: str,
    password: str,
    host: str,
    port: str,
    path: str,
    query: str,
    fragment: str,
    escaped: bool,
) -> None:
    if escaped:
        user, password = quote(user, safe=""), quote(password, safe="")
    assume(escaped or "%" not in user + password)
    credentials = f"{user}:{password}@" if user else ""

    found = parse_site(f"{scheme}{credentials}{host}{port}{path}{query}{fragment}")

    assert found == (scheme.removesuffix("//").removesuffix(":"), host)


@quick
@given(st.text(max_size=80))
def test_whatever_comes_in_a_host_is_bare(text: str) -> None:
    host = bare_host(text)

    assert host.isascii()
    assert not set(host) & set("/?#@\\ []%\r\n\t\x00")
    assert len(host) <= 253
    assert host == "" or ":" in host or bare_host(host) == host


@pytest.mark.parametrize(
    "local_part", ["a", "1", "github.alpha", "a-b_c.d", "a" * 64, "info2", "bouncer.x", "administrators"]
)
def test_an_alias_may_be_called_this(local_part: str) -> None:
    check_local_part(local_part)


@pytest.mark.parametrize(
    "local_part",
    [
        "",
        ".",
        "a.",
        ".a",
        "-a",
        "a_",
        "a..b",
        "a.-b",
        "A",
        "ä",
        "a+b",
        "a b",
        "a@b",
        "a\n",
        "a" * 65,
        "a\x00",
    ],
)
def test_an_alias_may_not_be_called_this(local_part: str) -> None:
    with pytest.raises(AddressError):
        check_local_part(local_part)


@pytest.mark.parametrize(
    "name", ["abuse", "postmaster", "hostmaster", "noreply", "mailer-daemon", "root", "info"]
)
def test_names_of_a_domains_people_and_software_are_reserved(name: str) -> None:
    with pytest.raises(AddressError, match="reserved"):
        check_local_part(name)


@pytest.mark.parametrize("name", ["srs0.x", "srs1x", "bounce.x", "bounces-1", "prvs.x", "b.abc"])
def test_names_of_bounces_are_reserved(name: str) -> None:
    with pytest.raises(AddressError, match="reserved"):
        check_local_part(name)


def test_every_reserved_name_is_one_that_could_be_asked_for() -> None:
    assert all(name == name.lower() for name in RESERVED_NAMES)
    assert all(prefix == prefix.lower() for prefix in RESERVED_PREFIXES)


@pytest.mark.parametrize(
    "written",
    [
        "github.alpha@example.com",
        "GitHub.Alpha@EXAMPLE.com",
        "github.alpha+news@example.com",
        " github.alpha+@example.com.",
    ],
)
def test_mail_to_any_form_of_an_alias_resolves_to_it(written: str) -> None:
    assert resolved_form(written) == "github.alpha@example.com"


def test_an_alias_resolves_by_u_label_too() -> None:
    assert resolved_form("A.b+c@Bücher.example") == "a.b@xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("note", "site", "kept"),
    [
        ("", "", ""),
        ("Website: github.com", "", "Website: github.com"),
        ("Website: https://user:pw@github.com:8443/x?token=1#y", "", "Website: github.com"),
        (
            "Website: https://github.com/x?token=1. Generated by Bitwarden.",
            "https://github.com/x?token=1",
            "Website: github.com. Generated by Bitwarden.",
        ),
        (
            "Webseite: https://github.com/x?token=1. Erstellt.",
            "https://github.com/x?token=1",
            "Webseite: github.com. Erstellt.",
        ),
        ("website:\thttps://github.com/x", "", "website:\tgithub.com"),
        ("Website: not/an/address", "", "Website: not"),
        ("my notes: https://example.com/shared/page", "", "my notes: https://example.com/shared/page"),
        ("either/or", "/", "either/or"),
    ],
)
def test_a_web_sites_url_in_a_note_is_cut_to_its_host(note: str, site: str, kept: str) -> None:
    assert note_without_url(note, site) == kept


@quick
@given(hosts, st.text(st.characters(exclude_categories=["Z", "C"]), max_size=40))
def test_nothing_of_a_path_stays_in_a_note(host: str, path: str) -> None:
    note = f"Website: https://u:p@{host}:8443/{path}x made by a client"

    assert note_without_url(note) == f"Website: {host} made by a client"


@quick
@given(st.text(st.characters(exclude_characters="/?#@\\"), max_size=300))
def test_a_note_without_urls_is_kept_whole(note: str) -> None:
    assert note_without_url(f"Website: {note}") == f"Website: {note}"
