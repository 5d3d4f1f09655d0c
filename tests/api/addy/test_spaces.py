"""addy.io's calls about domains and user names: the names that a person has for aliases on the fly."""

from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from aliases import spaces
from aliases.by_mail import Chance, make
from aliases.issuing import issue, issue_chosen
from aliases.models import Alias, NameRule, NameSpace
from aliases.spaces import change, give, give_subdomain
from api.addy.ids import public_id
from core.addresses import parse_address
from domains.models import DnsCheck, Domain
from tests.api.addy.calls import NOBODY, recipient_id
from tests.api.addy.test_apps import RECIPIENT, odd, wrong
from tests.conftest import Api
from tests.rig.openpgp import FINGERPRINT, PUBLIC_KEY

pytestmark = pytest.mark.django_db

V1 = "/api/v1"
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
KINDS: dict[str, dict[str, type]] = {
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


@pytest.fixture
def spaces_of(alice: User, example_com: Domain, other_org: Domain) -> dict[str, NameSpace]:
    """Alice's name space of each kind, by addy.io's word for it."""
    whole = give_subdomain(domain=example_com, owner=alice, label="alice")
    other_org.grant(alice)
    return {"domain": whole, "username": give(domain=other_org, owner=alice, suffix="alice")}


def id_of(space: NameSpace) -> str:
    return str(public_id("name space", space.pk) if space.suffix else public_id("domain", space.domain_id))


@pytest.mark.parametrize("word", KINDS)
def test_the_apps_show_it(alice: User, api: Api, spaces_of: dict[str, NameSpace], word: str) -> None:
    client, space = api(alice), spaces_of[word]

    (listed,) = client.get(f"{V1}/{word}s").json()["data"]
    one = client.get(f"{V1}/{word}s/{id_of(space)}").json()["data"]

    assert listed == one
    assert wrong(one, KINDS[word]) == {}
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
def test_the_catch_all_lets_mail_make_aliases_and_stops_it(
    alice: User, api: Api, spaces_of: dict[str, NameSpace], word: str
) -> None:
    client, space = api(alice), spaces_of[word]

    def mail(name: str) -> Chance:
        return make(parse_address(f"{name}{space.ending}"))

    assert mail("shop") is Chance.NO
    on = client.post(f"{V1}/catch-all-{word}s", {"id": id_of(space)}, format="json")
    assert (on.status_code, on.json()["data"]["catch_all"]) == (200, True)
    assert mail("shop") is Chance.YES
    counted = client.get(f"{V1}/{word}s/{id_of(space)}").json()["data"]
    off = client.delete(f"{V1}/catch-all-{word}s/{id_of(space)}")
    assert (off.status_code, off.content) == (204, b"")
    assert mail("bank") is Chance.NO

    assert counted["aliases_count"] == 1
    assert not client.get(f"{V1}/{word}s").json()["data"][0]["catch_all"]
    # Aliases that were made stay, and the app lists them by the id.
    listed = client.get(f"{V1}/aliases?{word}={id_of(space)}&filter[deleted]=with").json()["data"]
    assert [row["email"] for row in listed] == [f"shop{space.ending}"]


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


@pytest.mark.parametrize("word", KINDS)
def test_it_is_described_and_its_names_are_chosen(
    alice: User, api: Api, spaces_of: dict[str, NameSpace], word: str
) -> None:
    client, space = api(alice), spaces_of[word]
    path = f"{V1}/{word}s/{id_of(space)}"
    client.post(f"{V1}/catch-all-{word}s", {"id": id_of(space)}, format="json")

    def changed(**body: Any) -> Any:
        answer = client.patch(path, body, format="json")
        assert answer.status_code == 200, answer.content
        data = answer.json()["data"]
        return data["description"], data["auto_create_regex"]

    # One field at a time, as both apps send them, and "" or null for none.
    assert changed(description="  At the counter ") == ("At the counter", None)
    assert changed(auto_create_regex="shop-.+") == ("At the counter", "shop-.+")
    assert make(parse_address(f"shop-x{space.ending}")) is Chance.YES
    assert make(parse_address(f"bank{space.ending}")) is Chance.NO
    assert changed() == ("At the counter", "shop-.+")
    assert changed(description="") == (None, "shop-.+")
    assert changed(auto_create_regex=None) == (None, None)
    assert changed(from_name="") == changed(from_name=None) == (None, None)
    assert make(parse_address(f"bank{space.ending}")) is Chance.YES


@pytest.mark.parametrize(
    ("globs", "expression"), [("shop-*\n??.news", r"shop-.*|..\.news"), ("bank", "bank")]
)
def test_patterns_of_the_page_are_shown_as_one_expression_and_stay_patterns(
    alice: User, api: Api, spaces_of: dict[str, NameSpace], globs: str, expression: str
) -> None:
    client, space = api(alice), spaces_of["domain"]
    change(space, names=globs, is_expression=False, key_word="", per_day=5, rules=[])
    path = f"{V1}/domains/{id_of(space)}"

    shown = client.get(path).json()["data"]["auto_create_regex"]
    client.patch(path, {"auto_create_regex": shown}, format="json")

    space.refresh_from_db()
    assert shown == expression
    assert (space.names, space.is_expression) == (globs, False)
    # The same names: what the expression finds is what the patterns find.
    names = ("shop-1", "shopx1", "ab.news", "abxnews", "abc.news", "bank", "xbank")
    by_globs = [space.name_in(name) for name in names]
    NameSpace.objects.filter(pk=space.pk).update(names=expression, is_expression=True)
    assert [NameSpace.objects.get(pk=space.pk).name_in(name) for name in names] == by_globs


@pytest.mark.parametrize("word", KINDS)
def test_mail_to_new_aliases_goes_to_the_recipient_that_the_app_chose(
    alice: User, api: Api, spaces_of: dict[str, NameSpace], home: EmailAddress, word: str
) -> None:
    client, space = api(alice), spaces_of[word]
    change(space, names="", is_expression=False, key_word="", per_day=9, rules=[("bank*", alice.email)])
    client.post(f"{V1}/catch-all-{word}s", {"id": id_of(space)}, format="json")
    client.patch(f"{V1}/recipient-keys/{recipient_id(home)}", {"key_data": PUBLIC_KEY}, format="json")
    path = f"{V1}/{word}s/{id_of(space)}/default-recipient"

    def destination(name: str) -> str:
        assert make(parse_address(f"{name}{space.ending}")) is Chance.YES
        return Alias.objects.get(address=f"{name}{space.ending}").destination_addresses[0].email

    assert destination("one") == alice.email
    told = client.patch(path, {"default_recipient": recipient_id(home)}, format="json").json()["data"]
    assert destination("two") == home.email
    assert destination("bank") == alice.email
    again = client.patch(
        path, {"default_recipient": recipient_id(EmailAddress.objects.get(primary=True))}, format="json"
    )
    assert destination("three") == again.json()["data"]["default_recipient"]["email"] == alice.email
    for nothing in ("", None):
        none = client.patch(path, {"default_recipient": nothing}, format="json")
        assert (none.status_code, none.json()["data"]["default_recipient"]) == (200, None)

    recipient = told["default_recipient"]
    assert wrong(recipient, RECIPIENT) == odd(recipient, "recipient") == {}
    assert (recipient["id"], recipient["should_encrypt"], recipient["fingerprint"]) == (
        recipient_id(home),
        True,
        FINGERPRINT.upper(),
    )
    assert [rule.glob for rule in NameRule.objects.all()] == ["bank*"]


def refused(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.content
    body = answer.json()
    assert set(body) == ({"message", "errors"} if status == 422 else {"message"})
    return str(body["message"])


@pytest.mark.parametrize("word", KINDS)
def test_what_an_app_cannot_do_is_refused_in_words_and_changes_nothing(
    alice: User, api: Api, spaces_of: dict[str, NameSpace], word: str
) -> None:
    client, space = api(alice), spaces_of[word]
    key = id_of(space)
    before = list(NameSpace.objects.order_by("pk").values()), Domain.objects.count()

    answers = [
        refused(client.post(f"{V1}/{word}s", {word: "new.example.com"}, format="json"), 403),
        refused(client.delete(f"{V1}/{word}s/{key}"), 403),
        refused(client.delete(f"{V1}/active-{word}s/{key}"), 403),
        refused(client.patch(f"{V1}/{word}s/{key}", {"from_name": "Alice"}, format="json"), 422),
    ]
    if word == "username":
        answers.append(refused(client.post(f"{V1}/loginable-usernames", {"id": key}, format="json"), 403))
        assert client.delete(f"{V1}/loginable-usernames/{key}").status_code == 204
    on = client.post(f"{V1}/active-{word}s", {"id": key}, format="json")

    assert (on.status_code, on.json()["data"]["active"]) == (200, True)
    assert len(set(answers)) == len(answers)
    assert (list(NameSpace.objects.order_by("pk").values()), Domain.objects.count()) == before


HOSTILE: list[tuple[dict[str, Any], str]] = [
    ({"auto_create_regex": "("}, "auto_create_regex"),
    ({"auto_create_regex": "(a)\\1"}, "auto_create_regex"),
    ({"auto_create_regex": "(?=a)"}, "auto_create_regex"),
    ({"auto_create_regex": "(((a{1,99}){1,99}){1,99}){1,99}"}, "auto_create_regex"),
    ({"auto_create_regex": "x" * 201}, "auto_create_regex"),
    ({"auto_create_regex": "x" * 200_000}, "auto_create_regex"),
    ({"auto_create_regex": ["a"]}, "auto_create_regex"),
    ({"auto_create_regex": {"a": 1}}, "auto_create_regex"),
    ({"auto_create_regex": "a\x00b"}, "auto_create_regex"),
    ({"description": "x" * 201}, "description"),
    ({"description": "a\x00b"}, "description"),
    ({"description": 7}, "description"),
    ({"from_name": True}, "from_name"),
    ({"description": "fine", "auto_create_regex": "("}, "auto_create_regex"),
]


@pytest.mark.parametrize("word", KINDS)
@pytest.mark.parametrize(("body", "field"), HOSTILE)
def test_a_value_that_cannot_be_is_refused_by_its_field(
    alice: User, api: Api, spaces_of: dict[str, NameSpace], word: str, body: dict[str, Any], field: str
) -> None:
    client, space = api(alice), spaces_of[word]

    answer = client.patch(f"{V1}/{word}s/{id_of(space)}", body, format="json")

    assert refused(answer, 422)
    assert list(answer.json()["errors"]) == [field]
    assert NameSpace.objects.values("names", "note", "is_expression").get(pk=space.pk) == {
        "names": "",
        "note": "",
        "is_expression": False,
    }


def test_half_a_surrogate_pair_is_refused(alice: User, api: Api, spaces_of: dict[str, NameSpace]) -> None:
    path = f"{V1}/domains/{id_of(spaces_of['domain'])}"

    for field in ("description", "auto_create_regex"):
        body = f'{{"{field}": "\\ud800"}}'.encode()
        assert api(alice).patch(path, body, content_type="application/json").status_code == 422


@pytest.mark.parametrize("word", KINDS)
@pytest.mark.parametrize(
    ("value", "status"),
    [(NOBODY, 404), ("x", 404), ("stranger", 404), ("unverified", 422), (7, 422), (["a"], 422)],
)
def test_only_a_verified_address_of_ones_own_becomes_the_default(
    alice: User,
    mallory: User,
    api: Api,
    spaces_of: dict[str, NameSpace],
    word: str,
    value: Any,
    status: int,
) -> None:
    new = EmailAddress.objects.create(user=alice, email="new@home.test")
    ids = {
        "stranger": recipient_id(EmailAddress.objects.get(user=mallory)),
        "unverified": recipient_id(new),
    }
    path = f"{V1}/{word}s/{id_of(spaces_of[word])}/default-recipient"
    sent = ids.get(value, value) if isinstance(value, str) else value

    assert refused(api(alice).patch(path, {"default_recipient": sent}, format="json"), status)
    assert not NameRule.objects.exists()


def test_there_are_no_more_rules_than_the_page_allows(
    alice: User,
    api: Api,
    spaces_of: dict[str, NameSpace],
    home: EmailAddress,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spaces, "RULES_MAX", 1)
    space = spaces_of["domain"]
    NameRule.objects.create(space=space, glob="bank", address=home)
    path = f"{V1}/domains/{id_of(space)}/default-recipient"

    assert refused(api(alice).patch(path, {"default_recipient": recipient_id(home)}, format="json"), 422)
    assert NameRule.objects.count() == 1


@pytest.mark.parametrize("word", KINDS)
def test_a_strangers_is_the_same_nothing_as_an_unknown_one(
    alice: User, mallory: User, api: Api, spaces_of: dict[str, NameSpace], word: str
) -> None:
    client = api(mallory)
    before = list(NameSpace.objects.order_by("pk").values())

    def answers(key: str) -> list[Any]:
        one, body = f"{V1}/{word}s/{key}", {"id": key}
        sent = [
            client.get(one),
            client.patch(one, {"description": "x"}, format="json"),
            client.delete(one),
            client.patch(f"{one}/default-recipient", {"default_recipient": None}, format="json"),
            *(client.post(f"{V1}/{what}-{word}s", body, format="json") for what in ("active", "catch-all")),
            *(client.delete(f"{V1}/{what}-{word}s/{key}") for what in ("active", "catch-all")),
        ]
        if word == "username":
            sent.append(client.post(f"{V1}/loginable-usernames", body, format="json"))
            sent.append(client.delete(f"{V1}/loginable-usernames/{key}"))
        return [(answer.status_code, answer.content) for answer in sent]

    other_kind = next(space for kind, space in spaces_of.items() if kind != word)
    nothing = {"domain": "There is no such domain.", "username": "There is no such user name."}[word]
    expected = (404, f'{{"message":"{nothing}"}}'.encode())
    for key in (id_of(spaces_of[word]), id_of(other_kind), NOBODY):
        assert set(answers(key)) == {expected}
    assert client.get(f"{V1}/{word}s").json() == {"data": []}
    assert list(NameSpace.objects.order_by("pk").values()) == before
    # A user name is no domain either, not even to whom both belong.
    assert api(alice).get(f"{V1}/{word}s/{id_of(other_kind)}").status_code == 404


@pytest.mark.parametrize("word", KINDS)
@pytest.mark.parametrize("why", [{"anonmail_enabled": False}, {"is_shared": True}, {"minimum_style": "uuid"}])
def test_a_catch_all_that_would_catch_nothing_is_refused_and_shown_as_off(
    alice: User, api: Api, spaces_of: dict[str, NameSpace], word: str, why: dict[str, Any]
) -> None:
    client, space = api(alice), spaces_of[word]
    other = NameSpace.objects.exclude(pk=space.pk).get()
    NameSpace.objects.update(enabled=True)
    Domain.objects.filter(pk=space.domain_id).update(**why)

    shown = client.get(f"{V1}/{word}s").json()["data"][0]["catch_all"]
    answer = client.post(f"{V1}/catch-all-{word}s", {"id": id_of(space)}, format="json")
    off = client.delete(f"{V1}/catch-all-{word}s/{id_of(space)}")

    assert not shown
    assert "Mail makes no aliases here at the moment" in refused(answer, 403)
    assert off.status_code == 204
    assert [NameSpace.objects.get(pk=each.pk).enabled for each in (space, other)] == [False, True]


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


def test_one_that_was_taken_back_in_the_same_moment_is_404(
    alice: User, api: Api, spaces_of: dict[str, NameSpace], monkeypatch: pytest.MonkeyPatch
) -> None:
    from api.addy import spaces as views

    space = spaces_of["domain"]
    client = api(alice)
    amend, switch, default = views.amend, views.switch_by_app, views.set_default_destination

    def after_it_is_gone(deed: Any) -> Any:
        def act(space: NameSpace, *args: Any, **kwargs: Any) -> None:
            NameSpace.objects.filter(pk=space.pk).delete()
            deed(space, *args, **kwargs)

        return act

    monkeypatch.setattr(views, "amend", after_it_is_gone(amend))
    monkeypatch.setattr(views, "switch_by_app", after_it_is_gone(switch))
    monkeypatch.setattr(views, "set_default_destination", after_it_is_gone(default))
    home = recipient_id(EmailAddress.objects.get(user=alice))
    calls = [
        ("PATCH", f"{V1}/domains/{id_of(space)}", {"description": "x"}),
        ("PATCH", f"{V1}/domains/{id_of(space)}/default-recipient", {"default_recipient": home}),
        ("POST", f"{V1}/catch-all-domains", {"id": id_of(space)}),
    ]

    for method, path, body in calls:
        NameSpace.objects.get_or_create(pk=space.pk, domain=space.domain, owner=alice)
        answer = getattr(client, method.lower())(path, body, format="json")
        assert (answer.status_code, answer.json()) == (404, {"message": "There is no such domain."})
    assert not NameRule.objects.exists()
