"""Domains and user names as addy.io's apps are shown them, and how many statements that takes."""

from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from aliases.issuing import issue, issue_chosen
from aliases.models import Alias, NameRule, NameSpace
from aliases.spaces import give
from domains.models import DnsCheck, Domain
from tests.api.addy.app_fields import wrong
from tests.api.addy.name_spaces import KINDS, id_of
from tests.api.calls import V1
from tests.conftest import Api

pytestmark = pytest.mark.django_db

# What both apps know of each, and what may be null.
SPACE: dict[str, type] = {
    "id": str,
    "user_id": str,
    "aliases_count": int,
    "active": bool,
    "catch_all": bool,
    "created_at": str,
    "updated_at": str,
}
FIELDS: dict[str, dict[str, type]] = {
    "domain": {**SPACE, "domain": str},
    "username": {**SPACE, "username": str, "can_login": bool},
}
OPTIONAL = {
    "domain": (
        "description",
        "from_name",
        "auto_create_regex",
        "domain_verified_at",
        "domain_mx_validated_at",
        "domain_sending_verified_at",
    ),
    "username": ("description", "from_name", "auto_create_regex"),
}


@pytest.mark.parametrize("word", KINDS)
def test_the_apps_show_it(alice: User, api: Api, spaces_of: dict[str, NameSpace], word: str) -> None:
    client, space = api(alice), spaces_of[word]

    (listed,) = client.get(f"{V1}/{word}s").json()["data"]
    one = client.get(f"{V1}/{word}s/{id_of(space)}").json()["data"]

    assert listed == one
    assert wrong(one, FIELDS[word]) == {}
    assert {name: one[name] for name in OPTIONAL[word] if type(one[name]) not in {str, type(None)}} == {}
    assert one["id"] == id_of(space)
    assert (one["active"], one["catch_all"], one["aliases_count"]) == (True, False, 0)
    assert (one["default_recipient"], one["description"], one["auto_create_regex"]) == (None, None, None)
    assert (
        one.get("domain", one.get("username"))
        == {
            "domain": "alice.example.com",
            "username": "*.alice@other.org",
        }[word]
    )


@pytest.mark.parametrize("word", KINDS)
def test_only_ones_own_aliases_of_these_names_are_counted_and_listed(
    alice: User, root: User, api: Api, spaces_of: dict[str, NameSpace], word: str
) -> None:
    space = spaces_of[word]
    end = f".{space.suffix}" if space.suffix else ""
    mine = issue_chosen(owner=alice, prefix=f"a_b{end}", domain=space.domain.name)
    gone = issue_chosen(owner=alice, prefix=f"gone{end}", domain=space.domain.name)
    gone.soft_delete()
    issue(owner=alice, domain="example.com")
    # From before the names were Alice's.
    theirs = issue(owner=root, domain="example.com")
    Alias.objects.filter(pk=theirs.pk).update(domain=space.domain, address=f"old{space.ending}")
    other = issue(owner=alice, domain="example.com")
    Alias.objects.filter(pk=other.pk).update(domain=space.domain, address=f"x.bob@{space.domain.name}")
    client = api(alice)

    (one,) = client.get(f"{V1}/{word}s").json()["data"]
    listed = client.get(f"{V1}/aliases?{word}={id_of(space)}").json()["data"]

    expected = {mine.address} if space.suffix else {mine.address, f"x.bob@{space.domain.name}"}
    assert {row["email"] for row in listed} == expected
    assert one["aliases_count"] == len(expected)


@pytest.mark.parametrize(
    ("record", "state", "nulls"),
    [
        ("mx", "right", []),
        ("mx", "missing", ["domain_mx_validated_at"]),
        ("mx", "different", ["domain_mx_validated_at"]),
        # As it is right if that server passes the mail on, and if the DNS did not answer.
        ("mx", "elsewhere", []),
        ("mx", "unanswered", []),
        ("spf", "missing", ["domain_sending_verified_at"]),
        ("dmarc", "different", ["domain_sending_verified_at"]),
        ("key1", "missing", ["domain_sending_verified_at"]),
        ("_submissions._tcp", "different", []),
    ],
)
def test_what_the_dns_check_found_wrong_is_not_verified(
    alice: User,
    api: Api,
    spaces_of: dict[str, NameSpace],
    record: str,
    state: str,
    nulls: list[str],
) -> None:
    checked = timezone.now() - timedelta(hours=1)
    findings = {record: {"state": state, "reason": "", "found": []}}
    DnsCheck.objects.create(domain=spaces_of["domain"].domain, checked=checked, findings=findings)

    (told,) = api(alice).get(f"{V1}/domains").json()["data"]

    names = ("domain_verified_at", "domain_mx_validated_at", "domain_sending_verified_at")
    assert [name for name in names if told[name] is None] == nulls
    shown = [told[name] for name in names[1:] if told[name]]
    assert set(shown) == {checked.strftime("%Y-%m-%d %H:%M:%S")}


def test_the_account_counts_them(alice: User, mallory: User, api: Api) -> None:
    Domain.objects.create(name="plain.test", anonmail_enabled=True, audience="everyone")
    with CaptureQueriesContext(connection) as without:
        none = api(mallory).get(f"{V1}/account-details").json()["data"]
    for number in range(3):
        domain = Domain.objects.create(name=f"d{number}.test", anonmail_enabled=True, audience="everyone")
        give(domain=domain, owner=mallory, suffix="mallory" if number else "")
    give(domain=domain, owner=alice, suffix="alice")
    with CaptureQueriesContext(connection) as with_some:
        some = api(mallory).get(f"{V1}/account-details").json()["data"]

    names = ("active_domain_count", "active_domain_limit", "username_count", "username_limit")
    assert [none[name] for name in names] == [0, 0, 0, 0]
    # The app offers to add a user name as long as there are fewer than the limit.
    assert [some[name] for name in names] == [1, 1, 2, 2]
    assert len(with_some) == len(without)


@pytest.mark.parametrize("word", KINDS)
def test_a_list_takes_as_many_statements_for_one_as_for_many(
    alice: User, api: Api, home: EmailAddress, word: str
) -> None:
    client = api(alice)

    def statements(first: int, last: int) -> int:
        for number in range(first, last):
            domain = Domain.objects.create(name=f"d{number}.test", anonmail_enabled=True, audience="everyone")
            space = give(domain=domain, owner=alice, suffix="alice" if word == "username" else "")
            NameRule.objects.create(space=space, glob="*", address=home)
        with CaptureQueriesContext(connection) as found:
            assert len(client.get(f"{V1}/{word}s").json()["data"]) == last
        return len(found)

    # The token; the name spaces with their domains and numbers; the rules with addresses and keys.
    statements(0, 1)
    assert (statements(1, 2), statements(2, 7)) == (3, 3)
    NameSpace.objects.all().delete()
    with CaptureQueriesContext(connection) as none:
        client.get(f"{V1}/{word}s")
    assert len(none) == 2
