"""A table with a column that this release does not know and that must have a value: no address is "taken"."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from accounts.models import User
from aliases.models import Alias
from tests.conftest import Api

CRASHED = "Something went wrong on our side. It is logged; try again later."


@pytest.mark.postgresql
@pytest.mark.django_db
def test_no_creation_is_refused_as_taken(alice: User, browser: Client, api: Api) -> None:
    client = api(alice)
    browser.raise_request_exception = False
    suffix = client.get("/api/v5/alias/options").json()["suffixes"][0]["signed_suffix"]
    calls: list[tuple[str, dict[str, Any]]] = [
        ("/api/alias/random/new", {}),
        ("/api/v3/alias/custom/new", {"alias_prefix": "shop", "signed_suffix": suffix, "mailbox_ids": [
            alice.emailaddress_set.get().pk
        ]}),
        ("/api/v2/alias/custom/new", {"alias_prefix": "shop", "signed_suffix": suffix}),
        ("/api/v1/aliases", {"domain": "example.com"}),
    ]  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE aliases_alias ADD COLUMN newer integer NOT NULL")

    answers = [client.post(path, body, format="json") for path, body in calls]
    page = browser.post(reverse("alias-quick"), {"hostname": "shop.test"})

    assert [answer.status_code for answer in answers] == [500] * len(calls)
    assert {word for answer in answers for word in answer.json().values()} == {CRASHED}
    assert page.status_code == 500
    assert not Alias.objects.exists()
