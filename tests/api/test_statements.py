"""How many SQL statements each API call takes, as statements.txt has them, for 1 alias and for 1,000."""

import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import generate_totp_secret
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from accounts.models import User
from aliases.models import Alias, AliasDestination, AliasExpiry
from domains.models import Domain
from mail.models import Activity
from tests.api.endpoints import CALLS, named
from tests.conftest import Api

pytestmark = pytest.mark.django_db

TABLE = Path(__file__).with_name("statements.txt")
Call = tuple[str, str]
# Bodies that make the call do its work, where the table of URLs has one that is refused.
BODIES: dict[Call, dict[str, Any]] = {
    ("POST", "/api/v3/alias/custom/new"): {
        "alias_prefix": "x{number}",
        "signed_suffix": "{suffix}",
        "mailbox_ids": ["{mailbox}", "{primary}"],
    },
    ("POST", "/api/aliases/:id/contacts"): {"contact": "x{number}@shop.test"},
    ("POST", "/api/mailboxes"): {"email": "x{number}@home.test"},
    ("POST", "/api/v1/recipients"): {"email": "x{number}@home.test"},
    ("POST", "/api/v2/alias/custom/new"): {"alias_prefix": "x{number}", "signed_suffix": "{suffix}"},
    ("PUT", "/api/aliases/:id"): {"note": "x", "mailbox_ids": ["{mailbox}"]},
    ("DELETE", "/api/mailboxes/:id"): {"transfer_aliases_to": "{primary}"},
    ("POST", "/api/auth/login"): {"email": "alice@example.com", "password": "alice-password-1"},
    ("POST", "/api/auth/mfa"): {"mfa_key": "{mfa_key}", "mfa_token": "{code}"},
    ("POST", "/api/v1/aliases"): {"domain": "example.com", "recipient_ids": ["{recipient}"]},
    ("POST", "/api/v1/alias-recipients"): {"alias_id": "{uuid}", "recipient_ids": ["{recipient}"]},
    ("POST", "/api/v1/aliases/recipients/bulk"): {"ids": ["{uuid}"], "recipient_ids": ["{recipient}"]},
}
# There is nothing of the kind here: the refusal is the work.
REFUSED = {
    "/api/custom_domains/:id",
    "/api/custom_domains/:id/trash",
    "/api/api_key",
    "/api/auth/register",
    "/api/auth/activate",
    "/api/auth/reactivate",
    "/api/auth/forgot_password",
    "/api/sudo",
    "/api/user",
    "/api/user/cookie_token",
    "/api/setting/unlink_proton_account",
    "/api/notifications/:id/read",
    "/api/v1/usernames",
    "/api/v1/domains",
    "/api/v1/loginable-usernames",
    "/api/v1/attached-recipients-only",
    "/api/auth/delete-account",
    "/api/v1/allowed-recipients/:id",
    "/api/v1/inline-encrypted-recipients",
    "/api/v1/remove-pgp-keys-recipients",
    "/api/v1/remove-pgp-signatures-recipients",
    "/api/v1/failed-deliveries/:id/download",
}
NOT_DELETED = {
    "/api/v1/domains/:id",
    "/api/v1/usernames/:id",
    "/api/v1/active-domains/:id",
    "/api/v1/active-usernames/:id",
}
DELETED_FIRST = {"/api/v1/aliases/:id/restore", "/api/v1/aliases/restore/bulk"}


def expected() -> dict[Call, tuple[int, int]]:
    """The table's rows: method and path; status and number of statements."""
    rows = re.findall(r"^(\w+) (/\S+) (\d+) (\d+)$", TABLE.read_text(), re.MULTILINE)
    return {(method, path): (int(status), int(number)) for method, path, status, number in rows}


def shown(path: str) -> str:
    """The path as the table has it: `:id` for each id, no query."""
    return re.sub(r"\{\w+\}|(?<=domains/)1|(?<=notifications/)1", ":id", path.partition("?")[0])


EXPECTED = expected()


def test_the_table_has_every_call() -> None:
    assert set(EXPECTED) == {(method, shown(path)) for method, path, _body in CALLS}


def fill(owner: User, address: EmailAddress, number: int) -> Alias:
    """So many more aliases, each with all that may belong to one; the newest."""
    domain = Domain.objects.get(name="example.com")
    start = Alias.objects.count()
    rows = Alias.objects.bulk_create(
        Alias(
            address=f"a{start + index}@example.com", domain=domain, owner=owner, note="n", hostname="h.test"
        )
        for index in range(number)
    )
    AliasDestination.objects.bulk_create(AliasDestination(alias=alias, address=address) for alias in rows)
    AliasExpiry.objects.bulk_create(AliasExpiry(alias=alias, idle_days=30) for alias in rows)
    Activity.objects.bulk_create(
        Activity(alias=alias, event=event, sender="a@b.test", destination=address)
        for event in ("forward", "bounce")
        for alias in rows
    )
    return rows[-1]


class Caller:
    """Makes one call in a world with so many aliases."""

    answer: Any

    def __init__(self, alice: User, api: Api) -> None:
        # What holds while the call is made.
        self.during: Callable[[], AbstractContextManager[None]] = nullcontext
        self.alice, self.api, self.number = alice, api, 0
        self.client = self.signed_in()
        self.primary = EmailAddress.objects.get(user=alice)

    def signed_in(self) -> APIClient:
        """A client whose token's last use is written: that is done once a minute."""
        client = self.api(self.alice)
        client.get("/api/user_info")
        return client

    def words(self, method: str, path: str, alias: Alias) -> dict[str, Any]:
        """What stands for the names in braces."""
        home = EmailAddress.objects.get(email="alice@home.test")
        words: dict[str, Any] = {
            "number": self.number,
            "primary": self.primary.pk,
            **named(alias, home),
        }
        if "/custom/new" in path:
            options = self.client.get("/api/v5/alias/options").json()
            words["suffix"] = options["suffixes"][0]["signed_suffix"]
        if path.endswith("/logout"):
            self.client = self.signed_in()
        if path.endswith("/mfa"):
            Authenticator.objects.all().delete()
            Authenticator.objects.create(
                user=self.alice, type=Authenticator.Type.TOTP, data={"secret": generate_totp_secret()}
            )
            words["code"] = RecoveryCodes.activate(self.alice).get_unused_codes()[0]
            login = self.client.post(
                "/api/auth/login", BODIES["POST", "/api/auth/login"] | {"device": "x"}, format="json"
            )
            words["mfa_key"] = login.json()["mfa_key"]
        return words

    def cost(self, method: str, path: str, body: Any, aliases: int) -> tuple[int, int]:
        """The status, and how many statements it took with so many more aliases."""
        self.number += 1
        home, _made = EmailAddress.objects.get_or_create(
            user=self.alice, email="alice@home.test", defaults={"verified": True}
        )
        alias = fill(self.alice, home, aliases)
        if shown(path) in DELETED_FIRST:
            alias.soft_delete()
        if path.endswith("/activate/bulk"):
            alias.disable()
        words = self.words(method, path, alias)
        content = json.dumps(BODIES.get((method, shown(path)), body or {}))
        for name, word in words.items():
            path = path.replace(f"{{{name}}}", str(word))
            content = re.sub(
                rf'"\{{{name}\}}"' if isinstance(word, int) else rf"\{{{name}\}}",
                lambda _found, word=word: str(word),
                content,
            )
            content = content.replace(f"{{{name}}}", str(word))
        with self.during(), CaptureQueriesContext(connection) as queries:
            self.answer = answer = self.client.generic(method, path, content, "application/json")
            answer.getvalue()  # exports are streamed
        self.statements = [query["sql"] for query in queries if "SAVEPOINT" not in query["sql"]]
        return answer.status_code, len(self.statements)


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
def test_a_call_costs_what_the_table_says_for_one_alias_and_for_a_thousand(
    alice: User, api: Api, method: str, path: str, body: Any
) -> None:
    caller = Caller(alice, api)

    caller.cost(method, path, body, 1)  # what is made once: a token's last use, a row of settings
    few = caller.cost(method, path, body, 1)
    many = caller.cost(method, path, body, 998)

    assert few == many == EXPECTED[method, shown(path)], "\n".join(caller.statements)
    assert few[0] < 300 or shown(path) in REFUSED or (method == "DELETE" and shown(path) in NOT_DELETED)
