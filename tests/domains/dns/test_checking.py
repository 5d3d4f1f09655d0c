"""What the DNS says about a domain, in all the ways in which it can say it."""

import time
from typing import Any

import dns.resolver
import pytest
from pytest_django import Settings

from domains.dkim_keys import drop_key, make_keys
from domains.dns import checking, lookup
from domains.dns.checking import check
from domains.dns.examining import DMARC, MX, SPF
from domains.dns.records import Record
from domains.models import DkimKey, DnsCheck, Domain
from domains.models.dns_check import Finding, State
from tests.rig.nameserver import FAILS, SILENT, Nameserver

pytestmark = pytest.mark.django_db


def found(domain: Domain, record: str) -> Finding:
    (done,) = check(domain)
    finding = done.finding(record)
    assert finding is not None
    return finding


def outcome(domain: Domain, record: str) -> tuple[str, str]:
    finding = found(domain, record)
    return finding.state.value, finding.reason


def texts(*records: str) -> list[str]:
    return [f'TXT "{record}"' for record in records]


EXCHANGES = {
    "ours": (["MX 10 mx.example.com."], {}, ("right", "")),
    "ours, in capitals": (["MX 10 MX.Example.COM."], {}, ("right", "")),
    "ours behind another": (["MX 5 a.test.", "MX 10 mx.example.com."], {}, ("right", "")),
    "another name of ours": (["MX 10 in.test."], {"in.test": ["A 192.0.2.25"]}, ("right", "")),
    "another name, by a CNAME": (
        ["MX 10 in.test."],
        {"in.test": ["CNAME mx.example.com."]},
        ("right", ""),
    ),
    "elsewhere": (["MX 10 mx.other.test."], {"mx.other.test": ["A 192.0.2.99"]}, ("elsewhere", "elsewhere")),
    "elsewhere, to a name without an address": (["MX 10 gone.test."], {}, ("elsewhere", "elsewhere")),
    "none": (["TXT x"], {}, ("missing", "")),
    "no such domain": (None, {}, ("missing", "")),
    "no mail": (["MX 0 ."], {}, ("different", "no-mail")),
    "ours has no address": (["MX 10 mx.example.com."], {"mx.example.com": []}, ("different", "no-address")),
    "server fails": (FAILS, {}, ("unanswered", "")),
    "one host fails": (["MX 10 a.test."], {"a.test": FAILS}, ("unanswered", "")),
}


@pytest.mark.parametrize("case", EXCHANGES)
def test_where_mail_arrives(example_com: Domain, dns: Nameserver, case: str) -> None:
    held, more, expected = EXCHANGES[case]
    if held is None:
        del dns.records["example.com"]
    else:
        dns.records["example.com"] = held
    dns.records |= more

    assert outcome(example_com, MX) == expected


RIGHT, MISSING = ("right", ""), ("missing", "")
NOT_LISTED, INVALID, EVERYONE = (("different", why) for why in ("not-listed", "invalid", "everyone"))
BOTH = "ip4:192.0.2.25 ip6:2001:db8::25"
POLICIES = {
    "the one to set": (["v=spf1 mx -all"], RIGHT),
    "in capitals": (["V=SPF1 MX -ALL"], RIGHT),
    "by host": (["v=spf1 a:mx.example.com -all"], RIGHT),
    "by host and network": (["v=spf1 a:near.test/24//64 ~all"], RIGHT),
    "by address": ([f"v=spf1 {BOTH} -all"], RIGHT),
    "by network": (["v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all"], RIGHT),
    "with modifiers": ([f"v=spf1 {BOTH} exp=why.test unknown=x -all"], RIGHT),
    "by an include": (["v=spf1 include:spf.test -all"], RIGHT),
    "by an include's include": (["v=spf1 include:outer.test -all"], RIGHT),
    "by a redirect": (["v=spf1 redirect=spf.test"], RIGHT),
    "by a macro": (["v=spf1 exists:%{ir}.%{v}.%{d}.listed.test -all"], RIGHT),
    "by a macro's part": ([f"v=spf1 include:%{{d2r}}.part.test {BOTH} -all"], RIGHT),
    "among other texts": (["other", f"v=spf1 {BOTH}", "v=spf10 x", "xv=spf1"], RIGHT),
    "IPv4 alone": (["v=spf1 ip4:192.0.2.25 -all"], NOT_LISTED),
    "others": (["v=spf1 ip4:198.51.100.0/24 ptr exists:no.test -all"], NOT_LISTED),
    "expressly not": (["v=spf1 -ip4:192.0.2.25 mx -all"], NOT_LISTED),
    "nobody": (["v=spf1 -all"], NOT_LISTED),
    "softly": (["v=spf1 ~all"], NOT_LISTED),
    "nothing": (["v=spf1"], NOT_LISTED),
    "an include that fails": (["v=spf1 include:closed.test -all"], NOT_LISTED),
    "everyone": (["v=spf1 mx +all"], EVERYONE),
    "everyone, without a sign": (["v=spf1 all"], EVERYONE),
    "everyone's network": (["v=spf1 mx ip4:0.0.0.0/0 -all"], EVERYONE),
    "everyone by an include": (["v=spf1 include:open.test -all"], EVERYONE),
    "several": (["v=spf1 mx -all", "v=spf1 -all"], ("different", "several")),
    "an include without a record": (["v=spf1 include:none.test -all"], INVALID),
    "an include with several": (["v=spf1 include:several.test -all"], INVALID),
    "a redirect to nothing": (["v=spf1 redirect=none.test"], INVALID),
    "unknown mechanism": (["v=spf1 mx foo -all"], INVALID),
    "no network": (["v=spf1 ip4:192.0.2.999 -all"], INVALID),
    "wrong version": (["v=spf1 ip4:2001:db8::25 -all"], INVALID),
    "a loop": (["v=spf1 include:example.com -all"], INVALID),
    "eleven lookups": (["v=spf1 " + "a:other.test " * 11 + "mx -all"], INVALID),
    "none": (["something else"], MISSING),
    "an include that does not answer": (["v=spf1 include:fails.test -all"], ("unanswered", "")),
}
OTHERS: dict[str, list[str] | str] = {
    "spf.test": texts(f"v=spf1 {BOTH} -all"),
    "outer.test": texts("v=spf1 include:closed.test include:spf.test ?all"),
    "closed.test": texts("v=spf1 -all"),
    "open.test": texts("v=spf1 +all"),
    "several.test": texts("v=spf1 mx", "v=spf1 a"),
    "none.test": [],
    "other.test": ["A 198.51.100.7"],
    "near.test": ["A 192.0.2.200", "AAAA 2001:db8::ffff"],
    "fails.test": FAILS,
    "25.2.0.192.in-addr.example.com.listed.test": ["A 127.0.0.2"],
    ".".join("20010db8000000000000000000000025"[::-1]) + ".ip6.example.com.listed.test": ["A 127.0.0.2"],
    "com.example.part.test": texts("v=spf1 ?all"),
}


@pytest.mark.parametrize("case", POLICIES)
def test_who_may_send(example_com: Domain, dns: Nameserver, case: str) -> None:
    records, expected = POLICIES[case]
    dns.records |= OTHERS
    dns.set("example.com", "MX 10 mx.example.com.", *texts(*records))

    assert outcome(example_com, SPF) == expected


def test_a_text_is_read_whole_however_it_is_split(example_com: Domain, dns: Nameserver) -> None:
    dns.set("example.com", "MX 10 mx.example.com.", 'TXT "v=spf1 m" "x -a" "ll"')

    assert found(example_com, SPF) == Finding(State.RIGHT, found=["v=spf1 mx -all"])


@pytest.mark.parametrize(
    ("own", "parents", "expected"),
    [
        (["v=DMARC1; p=none"], [], RIGHT),
        (["v=DMARC1 ;P=Reject; rua=mailto:a@b.test"], [], RIGHT),
        ([], ["v=DMARC1; p=none"], ("right", "inherited")),
        (["something else"], ["v=DMARC1; p=none"], ("right", "inherited")),
        (["v=DMARC1; p=none"], ["v=DMARC1; p=reject", "v=DMARC1; p=none"], RIGHT),
        (["v=DMARC1; p=none", "v=DMARC1; p=reject"], [], ("different", "several")),
        (["v=DMARC1; p=all"], [], INVALID),
        (["v=DMARC1"], [], INVALID),
        (["v=DMARC12; p=none"], [], MISSING),
        ([], [], MISSING),
    ],
)
def test_the_policy_is_the_domains_own_or_its_organisations(
    db: None, dns: Nameserver, own: list[str], parents: list[str], expected: tuple[str, str]
) -> None:
    domain = Domain.objects.create(name="alias.dept.organisation.co.uk")
    dns.set("_dmarc.alias.dept.organisation.co.uk", *texts(*own))
    dns.set("_dmarc.organisation.co.uk", *texts(*parents))
    dns.set("_dmarc.co.uk", *texts("v=DMARC1; p=reject"))

    assert outcome(domain, DMARC) == expected


def publish(dns: Nameserver, key: DkimKey, text: str = "") -> None:
    """The key's record, split as long ones have to be."""
    text = text or key.record_text
    dns.set(key.record_name, "TXT " + " ".join(f'"{text[i : i + 200]}"' for i in range(0, len(text), 200)))


def test_a_key_signs_once_its_record_was_found_and_until_it_has_gone(
    example_com: Domain, dns: Nameserver
) -> None:
    rsa, ed25519 = make_keys(example_com)
    assert outcome(example_com, rsa.selector) == MISSING
    publish(dns, rsa)

    assert outcome(example_com, rsa.selector) == RIGHT

    rsa.refresh_from_db()
    ed25519.refresh_from_db()
    since = rsa.published
    assert since is not None
    assert ed25519.published is None
    dns.records[rsa.record_name] = FAILS
    assert outcome(example_com, rsa.selector) == ("unanswered", "")
    rsa.refresh_from_db()
    assert rsa.published == since
    del dns.records[rsa.record_name]
    assert outcome(example_com, rsa.selector) == MISSING
    rsa.refresh_from_db()
    assert rsa.published is None


def test_a_keys_record_may_be_elsewhere(example_com: Domain, dns: Nameserver) -> None:
    """As with providers that have one CNAME set and change the key behind it."""
    (key, _other) = make_keys(example_com)
    dns.set(key.record_name, "CNAME key.provider.test.")
    dns.set("key.provider.test", f'TXT "{key.record_text[:250]}" "{key.record_text[250:]}"')

    assert outcome(example_com, key.selector) == RIGHT


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda text: text.replace("; ", ";").replace("v=DKIM1;", ""), RIGHT),
        (lambda text: text.replace("p=", "h=sha1:sha256; s=email; t=s; n=note; p= ") + " ;", RIGHT),
        (lambda text: text + "; t=y:s", ("right", "testing")),
        (lambda text: text[:16] + "p=", ("different", "revoked")),
        (lambda text: text.replace("p=M", "p=N"), ("different", "other-key")),
        (lambda text: text.replace("k=rsa", "k=ed25519"), ("different", "other-key")),
        (lambda text: text.replace("DKIM1", "DKIM2"), INVALID),
        (lambda text: text + "; s=tlsrpt", INVALID),
        (lambda text: text + "; h=sha1", INVALID),
        (lambda text: "v=spf1 -all", INVALID),
        (lambda text: "p", INVALID),
    ],
)
def test_a_keys_record_has_the_key(
    example_com: Domain, dns: Nameserver, change: object, expected: tuple[str, str]
) -> None:
    key = make_keys(example_com)[0]
    assert callable(change)
    publish(dns, key, change(key.record_text))

    assert outcome(example_com, key.selector) == expected


def test_two_records_of_a_key_are_none(example_com: Domain, dns: Nameserver) -> None:
    key = make_keys(example_com)[1]
    dns.set(key.record_name, f'TXT "{key.record_text}"', 'TXT "p="')

    assert outcome(example_com, key.selector) == ("different", "several")


def test_an_idn_domain_is_asked_for_by_its_a_labels(db: None, dns: Nameserver) -> None:
    domain = Domain.objects.create(name="bücher.example")
    dns.set("xn--bcher-kva.example", "MX 10 mx.example.com.", *texts("v=spf1 mx -all"))

    assert outcome(domain, MX) == RIGHT
    assert outcome(domain, SPF) == RIGHT


def test_a_record_is_kept_as_harmless_text(example_com: Domain, dns: Nameserver) -> None:
    """PostgreSQL takes no NUL, and a page no control characters; a record may have thousands of them."""
    dns.set("_dmarc.example.com", 'TXT "v=DMARC1; p=\\000\\027[31m\\255<b>' + "x" * 100 + '"', *["TXT x"] * 3)
    dns.set("example.com", 'TXT "v=spf1 ' + 'x" "'.join("y" * 240 for _ in range(20)) + '"')

    (done,) = check(example_com)

    assert done.findings[DMARC]["found"] == ["v=DMARC1; p=\\x00\\x1b[31m\\xff<b>" + "x" * 100]
    assert len(done.findings[SPF]["found"][0]) == lookup.TEXT_MAX
    assert done.finding(SPF) == Finding(State.DIFFERENT, "invalid", done.findings[SPF]["found"])


def be_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that would ask a silent server for a minute, and a check that has two seconds."""
    monkeypatch.setattr("core.resolving.DEADLINE", 60)
    monkeypatch.setattr(lookup, "DEADLINE", 2)


def test_a_silent_dns_is_waited_for_once(
    example_com: Domain, dns: Nameserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_patient(monkeypatch)
    make_keys(example_com)
    dns.records |= {"example.com": SILENT, "mx.example.com": SILENT}
    dns.set("_dmarc.example.com", *texts("v=DMARC1; p=none"))
    start = time.monotonic()

    (done,) = check(example_com)

    assert time.monotonic() - start < 30
    states = {record: kept["state"] for record, kept in done.findings.items()}
    assert states[MX] == states[SPF] == State.UNANSWERED
    assert states[DMARC] == State.RIGHT


def test_a_chain_of_includes_ends_with_the_deadline(
    example_com: Domain, dns: Nameserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_patient(monkeypatch)
    for number in range(9):
        dns.set(f"s{number}.test", *texts(f"v=spf1 include:s{number + 1}.test -all"))
    dns.records["s9.test"] = SILENT
    dns.set("example.com", *texts("v=spf1 include:s0.test -all"))
    start = time.monotonic()

    assert outcome(example_com, SPF) == ("unanswered", "")
    assert time.monotonic() - start < 30


def test_without_a_name_of_its_own_the_server_says_so(
    example_com: Domain, dns: Nameserver, settings: Settings
) -> None:
    dns.set("example.com", "MX 10 mx.example.com.", *texts("v=spf1 mx -all"))
    for name in ("localhost", "127.0.0.1", "[::1]"):
        settings.MAIL_HOSTNAME = name

        assert outcome(example_com, MX) == ("elsewhere", "elsewhere")
        assert outcome(example_com, SPF) == ("different", "no-address")


def test_a_system_without_dns_servers_is_one_that_does_not_answer(
    example_com: Domain, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DNS_RESOLVERS = []
    monkeypatch.setattr("dns.resolver.BaseResolver.read_resolv_conf", lambda self, name: fail(name))

    def fail(name: str) -> None:
        raise dns.resolver.NoResolverConfiguration(name)

    assert outcome(example_com, MX) == ("unanswered", "")


def test_many_domains_are_checked_together(db: None, dns: Nameserver) -> None:
    domains = [Domain.objects.create(name=f"d{number}.test") for number in range(45)]
    dns.set("d7.test", "MX 10 mx.example.com.")
    gone = domains[0]
    Domain.objects.filter(pk=gone.pk).delete()

    done = check(*domains)

    assert len(done) == DnsCheck.objects.count() == 44
    assert {str(one) for one in done if one.findings[MX]["state"] == State.RIGHT} == {"d7.test"}


def test_a_key_that_is_dropped_during_the_check_is_not_missing(
    example_com: Domain, dns: Nameserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped, kept = make_keys(example_com)

    def drop_before(*arguments: Any) -> DnsCheck | None:
        dropped.delete()
        return keep(*arguments)

    keep = checking._keep
    monkeypatch.setattr(checking, "_keep", drop_before)

    (done,) = check(example_com)

    assert set(done.findings) == {MX, SPF, DMARC, kept.selector}


def test_a_key_that_took_the_selector_of_a_dropped_one_waits_for_its_own_record(
    example_com: Domain, dns: Nameserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The DNS was asked about the dropped key while the new one was created."""
    for key in make_keys(example_com):
        line = Record(key.record_name, "TXT", key.record_text).zone_line
        dns.set(key.record_name, line.partition(" IN ")[2])
    keep = checking._keep

    def replace_before(*arguments: Any) -> DnsCheck | None:
        for key in example_com.dkim_keys.all():
            drop_key(key)
        make_keys(example_com)
        return keep(*arguments)

    monkeypatch.setattr(checking, "_keep", replace_before)

    (done,) = check(example_com)

    assert set(done.findings) == {MX, SPF, DMARC}
    assert [key.published for key in DkimKey.objects.all()] == [None, None]


SERVICE = "_submissions._tcp"
SERVICES = {
    "right": (["SRV 0 1 465 mx.example.com."], ("right", "")),
    "in capitals, behind another": (["SRV 0 1 465 a.test.", "SRV 10 1 465 MX.Example.COM."], ("right", "")),
    "not set": (None, ("absent", "")),
    "another port": (["SRV 0 1 587 mx.example.com."], ("different", "other-server")),
    "another server": (["SRV 0 1 465 smtp.other.test."], ("different", "other-server")),
    "none offered": (["SRV 0 0 0 ."], ("different", "other-server")),
    "no answer": (FAILS, ("unanswered", "")),
}


@pytest.mark.parametrize("case", SERVICES)
def test_where_programs_send(example_com: Domain, dns: Nameserver, settings: Settings, case: str) -> None:
    settings.MAIL_SUBMISSION_TLS_LISTEN, settings.MAIL_SUBMISSION_LISTEN = "0.0.0.0:465", ""
    held, expected = SERVICES[case]
    if held is not None:
        dns.records[f"{SERVICE}.example.com"] = held

    assert outcome(example_com, SERVICE) == expected


def test_a_service_that_is_not_set_is_nothing_to_correct(
    example_com: Domain, dns: Nameserver, settings: Settings
) -> None:
    settings.MAIL_SUBMISSION_TLS_LISTEN, settings.MAIL_SUBMISSION_LISTEN = "0.0.0.0:465", ""
    settings.MAIL_DKIM = "off"
    dns.set("example.com", "MX 10 mx.example.com.", 'TXT "v=spf1 mx -all"')
    dns.set("_dmarc.example.com", 'TXT "v=DMARC1; p=none"')

    (done,) = check(example_com)

    assert done.findings[SERVICE]["state"] == State.ABSENT
    assert done.state == State.RIGHT


def test_nobody_is_asked_for_a_service_that_only_this_machine_has(
    example_com: Domain, dns: Nameserver, settings: Settings
) -> None:
    settings.MAIL_SUBMISSION_LISTEN = "127.0.0.1:2587"

    check(example_com)

    assert "SRV" not in {kind for _name, kind in dns.asked}
