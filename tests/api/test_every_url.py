"""Every URL of the API: it works with a key and needs one, and what is somebody else's is not there."""

import json
import re
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from rest_framework.test import APIClient

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from tests.api.calls import V1
from tests.api.endpoints import (
    KEYED,
    NAMES_AN_ALIAS,
    NOT_DELETED,
    NOTHING_TO_ADD,
    ONE_ALIAS,
    STATUS,
    URLS,
    named,
    views,
)
from tests.conftest import Api
from tokens.authentication import WRONG_CREDENTIALS

pytestmark = pytest.mark.django_db


def test_every_url_and_method_of_the_api_has_a_line() -> None:
    methods = {name: set(view().allowed_methods) - {"OPTIONS"} for name, view in views().items()}

    assert methods == {name: set(bodies) for name, (_path, bodies) in URLS.items()}


@pytest.mark.parametrize(("method", "path", "body"), KEYED)
def test_every_url_works_with_a_key_and_needs_one(
    alice: User, api: Api, method: str, path: str, body: Any
) -> None:
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    expected = STATUS.get(path, 200)
    if path.endswith("/random/new") or (method, path) in {
        ("POST", "/api/mailboxes"),
        ("POST", "/api/aliases/{id}/contacts?page_id=0"),
        ("POST", f"{V1}/aliases"),
        ("POST", f"{V1}/recipients"),
        ("POST", f"{V1}/blocklist"),
        ("POST", f"{V1}/rules"),
        ("POST", f"{V1}/blocklist/store/bulk"),
    }:
        expected = 201
    if method == "POST" and path in NOTHING_TO_ADD:
        expected = 403
    if path.startswith(V1) and method == "DELETE":
        expected = 403 if path.startswith(NOT_DELETED) else 204
    alias = issue(owner=alice, destinations=[alice.email, home.email])
    names = named(alias, home)
    path = path.format(**names)
    known = r"\{(uuid|blocked|recipient|unverified|rule|domain|username)\}"
    text = re.sub(known, lambda found: str(names[found[1]]), json.dumps(body or {}))

    refused = APIClient().generic(method, path, text, "application/json")
    answer = api(alice).generic(method, path, text, "application/json")

    assert refused.status_code == 401
    is_addys = path.startswith((V1, "/api/auth/"))
    words = {"message": "Unauthenticated."} if is_addys else {"error": str(WRONG_CREDENTIALS)}
    assert refused.json() == words
    assert answer.status_code == expected
    if expected == 204:
        assert answer.content == b""
        return
    is_csv = path == "/api/export/aliases"
    assert answer["Content-Type"] == ("text/csv; charset=utf-8" if is_csv else "application/json")


@pytest.mark.parametrize(("method", "path", "body"), NAMES_AN_ALIAS)
def test_to_addy_a_strangers_and_an_unknown_alias_are_the_same_nothing(
    alice: User, root: User, api: Api, method: str, path: str, body: Any
) -> None:
    theirs = issue(owner=root, domain="example.com")
    stripped = issue(owner=alice)
    Alias.objects.filter(pk=stripped.pk).strip()
    before = list(Alias.objects.order_by("pk").values())
    client = api(alice)

    answers = [
        client.generic(
            method,
            path.replace("{uuid}", str(key)),
            json.dumps(body or {}).replace("{uuid}", str(key)),
            "application/json",
        )
        for key in (theirs.uuid, stripped.uuid, "50c9e585-e7f5-41c4-9016-9014c15454bc")
    ]

    assert {answer.status_code for answer in answers} == {404}
    assert {tuple(answer.json()) for answer in answers} == {("message",)}
    assert len({answer.content for answer in answers}) == 1
    assert list(Alias.objects.order_by("pk").values()) == before


@pytest.mark.parametrize(("method", "path", "body"), ONE_ALIAS)
def test_a_strangers_a_deleted_and_an_unknown_alias_are_the_same_nothing(
    alice: User, root: User, api: Api, method: str, path: str, body: Any
) -> None:
    theirs = issue(owner=root, domain="example.com")
    deleted = issue(owner=alice)
    deleted.soft_delete()
    stripped = issue(owner=alice)
    Alias.objects.filter(pk=stripped.pk).strip()
    before = list(Alias.objects.order_by("pk").values())
    client = api(alice)

    answers = [
        client.generic(method, path.format(id=key), json.dumps(body or {}), "application/json")
        for key in (theirs.pk, deleted.pk, stripped.pk, 999_999, 0, 10**17)
    ]

    assert {answer.status_code for answer in answers} == {404}
    assert {answer.content for answer in answers} == {b'{"error":"There is no such alias."}'}
    assert list(Alias.objects.order_by("pk").values()) == before
