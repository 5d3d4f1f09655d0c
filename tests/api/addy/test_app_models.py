"""Each answer that addy.io's apps parse has each field that they know, as they know it."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias, NameSpace
from aliases.spaces import set_default_destination
from api.addy.ids import public_id
from mail.models import Activity
from rules.conditions import Match
from rules.models import Rule
from tests.api.addy import app_models as apps
from tests.api.calls import V1
from tests.api.endpoints import CALLS, named
from tests.conftest import Api
from tests.rig.ruling import condition, rule
from tokens.models import Token

pytestmark = pytest.mark.django_db

ONE_ALIAS, ONE_RECIPIENT, ONE_RULE = ({"data": each} for each in (apps.ALIAS, apps.RECIPIENT, apps.RULE))
# By the beginning of the path: what is read of the answer to each method, of those with an answer to read.
READ: list[tuple[str, str, apps.Model]] = [
    ("GET", "app-version", apps.VERSION),
    ("GET", "account-details", {"data": apps.ACCOUNT}),
    ("GET", "api-token-details", apps.TOKEN),
    ("GET", "account-notifications", {"data": [apps.NOTIFICATION]}),
    ("GET", "chart-data", apps.CHART),
    ("GET", "domain-options", apps.OPTIONS),
    ("POST", "aliases/get/bulk", {"data": [apps.ALIAS]}),
    ("POST", "aliases/recipients/bulk", apps.BULK),
    *(
        ("POST", f"aliases/{deed}/bulk", apps.BULK)
        for deed in ("activate", "deactivate", "pin", "unpin", "delete", "restore", "forget")
    ),
    ("GET", "aliases/", ONE_ALIAS),
    ("PATCH POST", "aliases", ONE_ALIAS),
    ("GET", "aliases", apps.paged(apps.ALIAS)),
    ("POST", "active-aliases", ONE_ALIAS),
    ("POST", "pinned-aliases", ONE_ALIAS),
    ("POST", "alias-recipients", ONE_ALIAS),
    ("GET", "recipients/", ONE_RECIPIENT),
    ("POST", "recipients/email/resend", {}),
    ("POST", "recipients", ONE_RECIPIENT),
    ("GET", "recipients", {"data": [apps.RECIPIENT]}),
    ("PATCH", "recipient-keys", ONE_RECIPIENT),
    ("POST", "encrypted-recipients", ONE_RECIPIENT),
    ("POST", "protected-headers-recipients", ONE_RECIPIENT),
    ("POST", "allowed-recipients", ONE_RECIPIENT),
    ("GET", "failed-deliveries/", {"data": apps.FAILED}),
    ("GET", "failed-deliveries", apps.paged(apps.FAILED)),
    ("POST", "blocklist/", {}),
    ("POST", "blocklist", {"data": apps.BLOCKED}),
    ("GET", "blocklist", apps.paged(apps.BLOCKED)),
    ("GET", "rules/", ONE_RULE),
    ("POST PATCH", "rules", ONE_RULE),
    ("GET", "rules", {"data": [apps.RULE]}),
    ("POST", "active-rules", ONE_RULE),
    ("POST", "reorder-rules", {}),
    *(
        line
        for word, model in (("domain", apps.DOMAIN), ("username", apps.USERNAME))
        for line in (
            ("GET", f"{word}s/", {"data": model}),
            ("PATCH", f"{word}s/", {"data": model}),
            ("GET", f"{word}s", {"data": [model]}),
            ("POST", f"active-{word}s", {"data": model}),
            ("POST", f"catch-all-{word}s", {"data": model}),
        )
    ),
]


def model_of(method: str, path: str) -> apps.Model:
    end = path.removeprefix(f"{V1}/")
    for methods, beginning, model in READ:
        if method in methods.split() and end.startswith(beginning):
            return model
    raise AssertionError(f"{method} {path} has an answer that no line says how it is read")


def fill(alias: Alias, home: EmailAddress) -> None:
    """Give everything that may be null a value."""
    alias.edit(note="Shop", name="Alice", pinned=True)
    Alias.objects.filter(pk=alias.pk).update(forwards=3, blocks=2, replies=1, active_at=timezone.now())
    for event in ("forward", "block", "reply"):
        Activity.objects.create(alias=alias, event=event, destination=home)
    Rule.objects.update(applied=3, applied_at=timezone.now())
    for space in NameSpace.objects.all():
        NameSpace.objects.filter(pk=space.pk).update(note="Mine", names="shop-*")
        set_default_destination(space, home)


@pytest.mark.parametrize("is_filled", [False, True])
@pytest.mark.parametrize(
    ("method", "path", "body"), [call for call in CALLS if call[1].startswith(V1)], ids=str
)
def test_the_apps_can_read_the_answer(
    alice: User, home: EmailAddress, api: Api, method: str, path: str, body: Any, is_filled: bool
) -> None:
    alias = issue(owner=alice, destinations=[alice.email, home.email])
    names = named(alias, home)
    if is_filled:
        fill(alias, home)
    text = re.sub(r"\{(\w+)\}", lambda found: str(names[found[1]]), json.dumps(body or {}))

    answer = api(alice).generic(method, path.format(**names), text, "application/json")

    if answer.status_code >= 400:
        assert apps.faults({"message": str}, answer.json()) == []
    elif answer.status_code == 204:
        assert answer.content == b""
    else:
        assert apps.faults(model_of(method, path), answer.json()) == []


def test_the_check_finds_what_an_app_cannot_read() -> None:
    """Else all of this could pass for nothing."""
    recipient: dict[str, Any] = {
        **dict.fromkeys(("id", "user_id", "email"), "x"),
        **dict.fromkeys(("created_at", "updated_at"), "2026-11-27 04:21:07"),
        **dict.fromkeys(("can_reply_send", "should_encrypt", "inline_encryption", "protected_headers"), True),
        **dict.fromkeys(("remove_pgp_keys", "remove_pgp_signatures"), False),
    }
    rows = [recipient, {**recipient, "id": 7, "aliases_count": "2"}, {**recipient, "email": None}]

    found = apps.faults({"data": [apps.RECIPIENT], "meta": apps.META}, {"data": rows, "meta": []})

    assert found == [
        ".data[1].id: 7",
        ".data[1].aliases_count: '2'",
        ".data[2].email: None",
        ".meta: []",
    ]
    assert apps.faults({"total": int}, {"total": True}) == [".total: True"]
    moment = apps.faults({"created_at": str}, {"created_at": "2026-11-27T04:21:07Z"})
    assert moment == [".created_at: '2026-11-27T04:21:07Z' is no moment"]


def test_signing_in_is_read_too(alice: User) -> None:
    client = APIClient(HTTP_X_REQUESTED_WITH="XMLHttpRequest")
    sent = {"username": alice.email, "password": "alice-password-1", "device_name": "addy.io for Android"}

    answer = client.post("/api/auth/login", sent, format="json")
    wrong = client.post("/api/auth/login", {**sent, "password": "x"}, format="json")

    assert answer.status_code == 200
    assert apps.faults(apps.LOGIN, answer.json()) == []
    assert (wrong.status_code, apps.faults({"message": str}, wrong.json())) == (401, [])


def test_a_token_that_ends_is_read_as_one(alice: User) -> None:
    _token, secret = Token.objects.issue(owner=alice, name="tests", expires=datetime(2999, 1, 1, tzinfo=UTC))
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {secret}")

    told = client.get(f"{V1}/api-token-details").json()

    assert apps.faults(apps.TOKEN, told) == []
    assert told["expires_at"].startswith("2999")


# --- Rules: the apps have no names for some of ours ------------------------------------------------


def test_the_apps_rules_have_all_comparisons(alice: User, api: Api) -> None:
    for match in Match:
        rule(alice, condition("subject", match.value, "x"), blocks=True)

    told = api(alice).get(f"{V1}/rules").json()["data"]

    assert {each["conditions"][0]["match"] for each in told} == apps.CONDITION_MATCHES
    assert len(apps.CONDITION_MATCHES) == len(Match) == 10


def test_rules_that_would_stop_the_apps_are_not_in_their_list(
    alice: User, home: EmailAddress, api: Api
) -> None:
    gone = EmailAddress.objects.create(user=alice, email="gone@home.test", verified=True)
    subject, list_id = condition("subject", "is", "x"), condition("header", "is", "x", header="List-Id")
    rules = {
        "plain": rule(alice, subject, name="plain", blocks=True),
        "header": rule(alice, subject, list_id, name="header", blocks=True),
        "disables": rule(alice, name="disables", blocks=True, disables=True),
        "lost": rule(alice, name="lost", destinations=[gone]),
        "forwards": rule(alice, name="forwards", destinations=[home]),
    }
    gone.delete()
    client = api(alice)

    told = client.get(f"{V1}/rules").json()["data"]
    everything = client.get(f"{V1}/rules?all=true").json()["data"]
    # The app sends all that it has been told of.
    ids = [each["id"] for each in reversed(told)]
    ordered = client.post(f"{V1}/reorder-rules", {"ids": ids}, format="json").json()["data"]

    assert [each["name"] for each in told] == ["plain", "forwards"]
    for each in told:
        assert {one["type"] for one in each["conditions"]} <= apps.CONDITION_TYPES
        assert {one["match"] for one in each["conditions"]} <= apps.CONDITION_MATCHES
        assert {one["type"] for one in each["actions"]} <= apps.ACTION_TYPES
        assert each["actions"]
        assert each["conditions"][0]["values"]
    assert [each["name"] for each in everything] == list(rules)
    assert [each["name"] for each in ordered] == ["forwards", "plain"]
    # Those that the app does not know stay where they are.
    assert list(Rule.objects.order_by("place").values_list("name", flat=True)) == [
        *("forwards", "header", "disables", "lost", "plain")
    ]
    for made in rules.values():
        path = f"{V1}/rules/{public_id('rule', made.pk)}"
        assert client.get(path).json()["data"]["name"] == made.name
