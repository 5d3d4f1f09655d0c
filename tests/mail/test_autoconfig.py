"""What mail programs and people are told about the submission door."""

from typing import Any
from xml.etree import ElementTree

import pytest
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from aliases.issuing import issue
from domains.models import Domain
from mail.submission import submission_servers, submission_services
from tokens.models import Token
from tokens.scopes import EVERYTHING

pytestmark = pytest.mark.django_db

WELL_KNOWN = "/.well-known/autoconfig/mail/config-v1.1.xml"
AT_AUTOCONFIG = "/mail/config-v1.1.xml"


@pytest.fixture
def public(settings: Settings) -> None:
    """A site with doors that everybody reaches."""
    settings.SITE_URL, settings.MAIL_HOSTNAME = "https://mail.example.com", "mx.example.com"
    settings.MAIL_TLS_CERTIFICATE = "/etc/ssl/mx.pem"
    settings.MAIL_SUBMISSION_TLS_LISTEN = "0.0.0.0:465"
    settings.MAIL_SUBMISSION_LISTEN = "[::]:587"


def ask(host: str, path: str = WELL_KNOWN, method: str = "GET", **extra: Any) -> Any:
    return Client(headers={"host": host}).generic(method, path, **extra)


@pytest.mark.usefixtures("public", "example_com")
@pytest.mark.parametrize("path", [WELL_KNOWN, AT_AUTOCONFIG, f"{WELL_KNOWN}?emailaddress=a%40example.com"])
@pytest.mark.parametrize("host", ["example.com", "autoconfig.example.com", "Example.COM:8443"])
def test_a_domain_of_aliases_says_where_to_send(host: str, path: str) -> None:
    answer = ask(host, path)

    assert answer.status_code == 200
    assert answer["Content-Type"] == "text/xml; charset=utf-8"
    (provider,) = ElementTree.fromstring(answer.content)
    assert provider.attrib == {"id": "example.com"}
    assert provider.findtext("domain") == "example.com"
    servers = [{each.tag: each.text for each in server} for server in provider.findall("outgoingServer")]
    assert servers == [
        {
            "hostname": "mx.example.com",
            "port": port,
            "socketType": security,
            "authentication": "password-cleartext",
            "username": "%EMAILADDRESS%",
        }
        for port, security in (("465", "SSL"), ("587", "STARTTLS"))
    ]
    assert provider.find("incomingServer") is None


@pytest.mark.usefixtures("public")
def test_a_domain_that_begins_with_autoconfig_is_a_domain_like_others() -> None:
    Domain.objects.create(name="autoconfig.test")
    Domain.objects.create(name="autoconfig.example.com")

    assert b'id="autoconfig.test"' in ask("autoconfig.test").content
    assert b'id="autoconfig.example.com"' in ask("autoconfig.example.com").content


@pytest.mark.usefixtures("public", "example_com")
@pytest.mark.parametrize(
    "host",
    ["evil.test", "autoconfig.evil.test", "mail.example.com", "x.autoconfig.example.com", "a b", "", "[::1"],
)
def test_no_other_host_is_answered(host: str) -> None:
    answer = ask(host)

    assert answer.status_code in {400, 404}
    assert b"clientConfig" not in answer.content


@pytest.mark.usefixtures("public", "example_com")
def test_other_paths_and_methods_are_the_site_s_which_knows_its_own_hosts() -> None:
    for path, method in ((f"{WELL_KNOWN}/", "GET"), ("/aliases/", "GET"), (WELL_KNOWN, "POST")):
        assert ask("example.com", path, method).status_code == 400
    assert ask("example.com", WELL_KNOWN, "HEAD").status_code == 200


def test_without_a_door_that_others_reach_nothing_is_said(example_com: Domain, settings: Settings) -> None:
    settings.MAIL_SUBMISSION_LISTEN = "127.0.0.1:2587"

    assert ask("example.com").status_code == 400
    assert submission_services() == []


SERVERS = [
    # site, STARTTLS, TLS, certificate: what people are told
    ("http://localhost:8000", "127.0.0.1:2587", "", "", [("localhost", 2587, "")]),
    ("http://localhost:8000", "[::1]:2587", "", "x", [("localhost", 2587, "STARTTLS")]),
    ("https://mail.example.com", "127.0.0.1:2587", "", "x", []),
    ("https://mail.example.com", "0.0.0.0:587", "", "x", [("mx.example.com", 587, "STARTTLS")]),
    ("https://mail.example.com", "", "192.0.2.1:465", "x", [("mx.example.com", 465, "SSL/TLS")]),
    ("https://mail.example.com", "unix:/run/anonmail/submission", "", "x", []),
    ("https://mail.example.com", "nonsense", "", "x", []),
    ("https://mail.example.com", "", "", "x", []),
]


@pytest.mark.parametrize(("site", "starttls", "tls", "certificate", "told"), SERVERS)
def test_people_are_told_of_the_doors_that_they_reach(
    settings: Settings, site: str, starttls: str, tls: str, certificate: str, told: list[Any]
) -> None:
    settings.SITE_URL, settings.MAIL_HOSTNAME = site, "mx.example.com"
    settings.MAIL_SUBMISSION_LISTEN, settings.MAIL_SUBMISSION_TLS_LISTEN = starttls, tls
    settings.MAIL_TLS_CERTIFICATE = certificate

    assert [(each.host, each.port, each.security) for each in submission_servers()] == told


@pytest.mark.usefixtures("public")
def test_an_alias_s_page_says_how_to_send_from_it(alice: User, browser: Client, settings: Settings) -> None:
    alias = issue(owner=alice)
    page = browser.get(f"/aliases/{alias.pk}/").content.decode()

    assert "Send as this alias" in page
    for word in ("<code>mx.example.com</code>", "<code>465</code>", "SSL/TLS", f"<code>{alice.email}</code>"):
        assert word in page
    alias.disable()
    assert "Send as this alias" not in browser.get(f"/aliases/{alias.pk}/").content.decode()
    alias.enable()
    settings.MAIL_SUBMISSION_LISTEN = settings.MAIL_SUBMISSION_TLS_LISTEN = ""
    assert "Send as this alias" not in browser.get(f"/aliases/{alias.pk}/").content.decode()


@pytest.mark.usefixtures("public")
@pytest.mark.parametrize("scopes", [["1"], ["1", "8"]])
def test_a_new_token_s_page_shows_the_settings_if_it_can_send(browser: Client, scopes: list[str]) -> None:
    page = browser.post(
        "/tokens/new/", {"name": "Thunderbird", "scopes": scopes, "once": "x"}
    ).content.decode()

    assert ("In a mail program" in page) is ("8" in scopes)
    assert Token.objects.get().rights & EVERYTHING == sum(map(int, scopes))
