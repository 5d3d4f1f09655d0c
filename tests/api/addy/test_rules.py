"""addy.io's calls about rules."""

from typing import Any

import pytest
from allauth.account.models import EmailAddress

from accounts.models import User
from api.addy.ids import public_id
from rules.conditions import Match, Of
from rules.models import Rule
from tests.api.addy.calls import NOBODY, recipient_id
from tests.conftest import Api
from tests.rig.ruling import condition, rule
from tokens.models import Token
from tokens.scopes import EVERYTHING, Scope

pytestmark = pytest.mark.django_db

LIST = "/api/v1/rules"
BODY: dict[str, Any] = {
    "name": "Shops",
    "conditions": [
        {"type": "sender", "match": "ends with", "values": ["@shop.test", "@other.test"]},
        {"type": "alias_description", "match": "does not contain", "values": ["keep"]},
    ],
    "actions": [{"type": "subject", "value": "[Shop] {{subject}}"}, {"type": "block", "value": True}],
    "operator": "OR",
    "forwards": True,
    "replies": False,
    "sends": False,
}


def path(made: Rule) -> str:
    return f"{LIST}/{public_id('rule', made.pk)}"


def test_a_rule_is_made_in_addys_words(alice: User, home: EmailAddress, api: Api) -> None:
    client = api(alice)
    actions = [*BODY["actions"], {"type": "forwardTo", "value": recipient_id(home)}]

    answer = client.post(LIST, {**BODY, "actions": actions}, format="json")

    assert answer.status_code == 201
    made = Rule.objects.in_order().get()
    assert [(each.of, each.match) for each in made.condition_list] == [
        (Of.SENDER, Match.ENDS),
        (Of.NOTE, Match.CONTAINS_NOT),
    ]
    assert (made.owner, made.blocks, made.needs_all, made.destinations) == (alice, True, False, [home])
    told = answer.json()["data"]
    assert set(told) == {
        *("id", "user_id", "name", "order", "conditions", "actions", "operator", "forwards", "replies"),
        *("sends", "active", "applied", "last_applied", "created_at", "updated_at"),
    }
    assert told["actions"] == actions
    assert [{k: v for k, v in each.items() if v} for each in told["conditions"]] == BODY["conditions"]
    assert (told["forwards"], told["replies"], told["sends"], told["active"]) == (True, False, False, True)
    assert client.get(LIST).json() == {"data": [told]}
    assert client.get(path(made)).json() == {"data": told}


def test_what_a_client_got_can_be_sent_back(alice: User, home: EmailAddress, api: Api) -> None:
    given = condition("header", "matches", "^<.*shop", header="List-Id")
    made = rule(alice, given, destinations=[home], disables=True, subject="x", stops=True)
    client = api(alice)
    told = client.get(path(made)).json()["data"]

    again = client.patch(path(made), told, format="json")

    assert again.status_code == 200
    assert {**again.json()["data"], "updated_at": ""} == {**told, "updated_at": ""}
    after = Rule.objects.in_order().get()
    assert (after.condition_list, after.stops, after.disables) == ([given], True, True)


def test_rules_are_switched_ordered_and_deleted(alice: User, api: Api) -> None:
    first, second, third = (rule(alice, name=name, blocks=True) for name in "abc")
    client = api(alice)

    off = client.delete(f"/api/v1/active-rules/{public_id('rule', first.pk)}")
    on = client.post("/api/v1/active-rules", {"id": str(public_id("rule", second.pk))}, format="json")
    ids = [str(public_id("rule", each.pk)) for each in (third, first)]
    ordered = client.post("/api/v1/reorder-rules", {"ids": ids}, format="json")
    gone = client.delete(path(second))

    assert (off.status_code, on.status_code, ordered.status_code, gone.status_code) == (204, 200, 200, 204)
    assert on.json()["data"]["active"] is True
    assert [(each.name, each.is_on) for each in Rule.objects.in_order()] == [("c", True), ("a", False)]
    assert [each["order"] for each in ordered.json()["data"]] == [0, 1, 2]


SENDER = BODY["conditions"][0]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 51}, "name"),
        ({"conditions": []}, "conditions"),
        ({"conditions": None}, "conditions"),
        ({"conditions": [SENDER] * 6}, "conditions"),
        ({"conditions": ["x"]}, "conditions"),
        ({"conditions": [{**SENDER, "type": "body"}]}, "conditions.0.type"),
        ({"conditions": [{**SENDER, "type": ["sender"]}]}, "conditions.0.type"),
        ({"conditions": [SENDER, {**SENDER, "match": "is"}]}, "conditions.1.match"),
        ({"conditions": [{**SENDER, "values": "x"}]}, "conditions.0.values"),
        ({"conditions": [{**SENDER, "values": []}]}, "conditions.0.values"),
        ({"conditions": [{**SENDER, "values": [1]}]}, "conditions.0.values"),
        ({"conditions": [{**SENDER, "values": ["a\0b"]}]}, "conditions.0.values"),
        (
            {"conditions": [{**SENDER, "values": ["x"] * 9 + [str(n) for n in range(51)]}]},
            "conditions.0.values",
        ),
        ({"conditions": [{**SENDER, "match": "matches regex", "values": ["(a"]}]}, "conditions.0.values"),
        ({"conditions": [{**SENDER, "type": "header"}]}, "conditions.0.header"),
        ({"conditions": [{**SENDER, "type": "header", "header": 1}]}, "conditions.0.header"),
        ({"actions": []}, "actions"),
        ({"actions": [{"type": "banner", "value": "off"}]}, "actions.0.type"),
        ({"actions": [{"type": "quarantine", "value": True}]}, "actions.0.type"),
        ({"actions": [{"type": {}, "value": True}]}, "actions.0.type"),
        ({"actions": [{"type": "block", "value": True}] * 2}, "actions.1.type"),
        ({"actions": [{"type": "block", "value": False}]}, "actions.0.value"),
        ({"actions": [{"type": "block"}]}, "actions.0.value"),
        ({"actions": [{"type": "subject", "value": ""}]}, "actions.0.value"),
        ({"actions": [{"type": "subject", "value": "a\r\nBcc: x@y.test"}]}, "actions"),
        ({"actions": [{"type": "forwardTo", "value": NOBODY}]}, "actions.0.value"),
        ({"actions": [{"type": "forwardTo", "value": 7}]}, "actions.0.value"),
        ({"operator": "XOR"}, "operator"),
        ({"forwards": False}, "forwards"),
        ({"forwards": "yes"}, "forwards"),
        ({"replies": True}, "replies"),
        ({"sends": True}, "sends"),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(
    alice: User, api: Api, changes: dict[str, Any], field: str
) -> None:
    answer = api(alice).post(LIST, {**BODY, **changes}, format="json")

    assert answer.status_code == 422
    assert list(answer.json()["errors"]) == [field]
    assert answer.json()["message"].endswith(".")
    assert not Rule.objects.exists()


def test_a_strangers_address_is_no_destination(alice: User, mallory: User, api: Api) -> None:
    theirs = EmailAddress.objects.get(user=mallory)
    unverified = EmailAddress.objects.create(user=alice, email="new@home.test")

    for address in (theirs, unverified):
        actions = [{"type": "forwardTo", "value": recipient_id(address)}]
        assert api(alice).post(LIST, {**BODY, "actions": actions}, format="json").status_code == 422


def test_a_strangers_rule_does_not_exist(alice: User, mallory: User, api: Api) -> None:
    theirs = rule(mallory, blocks=True)
    key = str(public_id("rule", theirs.pk))
    client = api(alice)

    answers = [
        client.get(path(theirs)),
        client.patch(path(theirs), BODY, format="json"),
        client.delete(path(theirs)),
        client.post("/api/v1/active-rules", {"id": key}, format="json"),
        client.delete(f"/api/v1/active-rules/{key}"),
    ]
    reorder = client.post("/api/v1/reorder-rules", {"ids": [key]}, format="json")

    assert [answer.status_code for answer in answers] == [404] * 5
    assert reorder.status_code == 422
    theirs.refresh_from_db()
    assert theirs.is_on


@pytest.mark.parametrize("ids", [None, [], "x", ["x"], [{}], [NOBODY], [NOBODY] * 51])
def test_what_names_no_rules_is_no_order(alice: User, api: Api, ids: Any) -> None:
    assert api(alice).post("/api/v1/reorder-rules", {"ids": ids}, format="json").status_code == 422


def test_a_token_that_may_not_read_activity_is_told_no_figures(alice: User, api: Api) -> None:
    made = rule(alice, blocks=True)
    Rule.objects.update(applied=7, applied_at=made.created)
    client = api(alice)
    assert client.get(path(made)).json()["data"]["applied"] == 7

    _token, secret = Token.objects.issue(owner=alice, name="x", scopes=EVERYTHING & ~Scope.ACTIVITY)
    client.defaults["HTTP_AUTHENTICATION"] = f"{alice.email}:{secret}"

    told = client.get(path(made)).json()["data"]
    assert (told["applied"], told["last_applied"]) == (0, None)


def test_the_account_says_how_many_rules_are_on(alice: User, home: EmailAddress, api: Api) -> None:
    rule(alice, blocks=True)
    rule(alice, blocks=True)
    rule(alice, blocks=True).switch(on=False)

    account = api(alice).get("/api/v1/account-details").json()["data"]

    assert (account["active_rule_count"], account["active_rule_limit"], account["recipient_count"]) == (
        2,
        # One that is off takes a place too.
        49,
        2,
    )
