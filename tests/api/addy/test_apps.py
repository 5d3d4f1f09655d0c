"""addy.io's phone apps and extension: they stop where a field that they know is missing, null, or otherwise.

What they ask for at the start and every day, and the fields that they read, by their public sources
(Android 6.2.1, iOS 2.3.5, the extension 3.0.3).
"""

import json
import re
from pathlib import Path

import pytest
from allauth.account.models import EmailAddress
from rest_framework.test import APIClient

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from contacts.models import Contact
from domains.models import Domain
from mail.models import Activity
from tests.api.addy.app_fields import ACCOUNT, ALIAS, BLOCKED, FAILED, META, OPTIONS, RECIPIENT, odd, wrong
from tests.api.addy.calls import NOBODY
from tests.api.test_statements import EXPECTED
from tests.conftest import Api
from tokens.models import Token

pytestmark = pytest.mark.django_db

NEEDED = (1, 6, 2)  # iOS; Android needs 1.5.0


def test_the_version_is_the_one_that_both_apps_ask_for(alice: User, api: Api) -> None:
    told = api(alice).get("/api/v1/app-version").json()

    assert (told["major"], told["minor"], told["patch"]) >= NEEDED


@pytest.mark.parametrize("who", ["alice", "mallory"])
def test_the_apps_start_for_everybody(
    who: str, alice: User, mallory: User, example_com: Domain, api: Api
) -> None:
    user = {"alice": alice, "mallory": mallory}[who]
    client = api(user)

    account = client.get("/api/v1/account-details").json()["data"]
    recipient = client.get(f"/api/v1/recipients/{account['default_recipient_id']}").json()["data"]
    options = client.get("/api/v1/domain-options").json()
    token = client.get("/api/v1/api-token-details").json()

    assert wrong(account, ACCOUNT) == {}
    assert wrong(recipient, RECIPIENT) == {}
    assert recipient["email"] == user.email
    assert wrong(options, OPTIONS) == {}
    assert wrong(token, {"name": str, "created_at": str}) == {}
    # Mallory may use no domain.
    assert bool(options["defaultAliasDomain"]) is (who == "alice")
    assert account["default_alias_format"] == options["defaultAliasFormat"] == "random_words"


def test_an_account_whose_address_is_not_verified_starts_too(alice: User) -> None:
    _token, secret = Token.objects.issue(owner=alice, name="tests")
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {secret}")
    EmailAddress.objects.filter(user=alice).update(verified=False)

    account = client.get("/api/v1/account-details").json()["data"]

    assert wrong(account, ACCOUNT) == {}
    assert account["recipient_count"] == 1
    assert client.get(f"/api/v1/recipients/{account['default_recipient_id']}").status_code == 200


def test_pinned_aliases_are_counted(alice: User, api: Api) -> None:
    issue(owner=alice).edit(pinned=True)
    issue(owner=alice)
    gone = issue(owner=alice)
    gone.edit(pinned=True)
    gone.soft_delete()

    assert api(alice).get("/api/v1/account-details").json()["data"]["total_pinned_aliases"] == 1


def test_what_the_app_sends_makes_lists_and_changes_an_alias(alice: User, api: Api) -> None:
    client = api(alice)
    sent = {
        "domain": "example.com",
        "description": "",
        "format": "random_words",
        "local_part": "",
        "recipient_ids": [],
    }

    made = client.post("/api/v1/aliases", sent, format="json")
    alias = made.json()["data"]
    listed = client.get("/api/v1/aliases?filter%5Bdeleted%5D=with&page%5Bsize%5D=20&page%5Bnumber%5D=1")
    shown = client.get(f"/api/v1/aliases/{alias['id']}").json()["data"]
    changed = client.patch(f"/api/v1/aliases/{alias['id']}", {"description": "x"}, format="json")

    assert made.status_code == 201
    assert wrong(alias, ALIAS) == wrong(shown, ALIAS) == {}
    assert [row["email"] for row in listed.json()["data"]] == [alias["email"]]
    assert wrong(listed.json()["meta"], META) == {}
    assert odd(alias, "alias") == odd(shown, "alias") == odd(alias["recipients"][0], "recipient") == {}
    assert wrong(alias["recipients"][0], RECIPIENT) == {}
    assert changed.json()["data"]["description"] == "x"


@pytest.mark.parametrize(
    "query",
    ["filter%5Bactive%5D%3D=false&page%5Bsize%5D=20", "filter[active]=false", "filter[active]x=false"],
)
def test_a_filter_is_understood_as_the_app_for_android_writes_it(alice: User, api: Api, query: str) -> None:
    on, off = issue(owner=alice), issue(owner=alice)
    off.disable()

    rows = api(alice).get(f"/api/v1/aliases?{query}").json()["data"]

    assert [row["email"] for row in rows] == [off.address]
    assert on.address != off.address


@pytest.mark.parametrize("word", ["usernames", "domains"])
def test_somebody_without_names_of_ones_own_has_none(alice: User, api: Api, word: str) -> None:
    assert api(alice).get(f"/api/v1/{word}").json() == {"data": []}


@pytest.mark.parametrize("word", ["failed-deliveries", "blocklist"])
def test_what_comes_in_pages_is_an_empty_page(alice: User, api: Api, word: str) -> None:
    client = api(alice)

    told = client.get(f"/api/v1/{word}?page[number]=1&page[size]=1&filter[email_type]=inbound").json()

    assert told["data"] == []
    assert wrong(told["meta"], META) == {}
    assert told["meta"]["total"] == 0
    assert client.get(f"/api/v1/{word}?page[size]=0").status_code == 422


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        (
            "usernames",
            "User names cannot be added: you sign in with your e-mail address, and a domain's manager can "
            "give you names that end with a suffix.",
        ),
        ("domains", "Only an admin can add domains to this server."),
    ],
)
def test_what_cannot_be_added_is_refused_in_a_sentence(
    alice: User, api: Api, word: str, sentence: str
) -> None:
    before = Domain.objects.count(), User.objects.count()

    answer = api(alice).post(f"/api/v1/{word}", {"domain": "evil.test", "username": "x"}, format="json")

    assert answer.status_code == 403
    assert answer.json() == {"message": sentence}
    assert (Domain.objects.count(), User.objects.count()) == before


def test_who_may_reply_is_refused_for_an_own_alias_alone(alice: User, root: User, api: Api) -> None:
    mine = issue(owner=alice)
    theirs = issue(owner=root, domain="example.com")
    client = api(alice)

    def ask(alias: Alias) -> tuple[int, int]:
        on = client.post("/api/v1/attached-recipients-only", {"id": str(alias.uuid)}, format="json")
        off = client.delete(f"/api/v1/attached-recipients-only/{alias.uuid}")
        return on.status_code, off.status_code

    assert ask(mine) == (403, 204)
    assert ask(theirs) == (404, 404)


def test_what_failed_is_shown_even_if_nothing_is_known_of_it(alice: User, api: Api) -> None:
    Activity.objects.create(alias=issue(owner=alice), event="bounce")

    (row,) = api(alice).get("/api/v1/failed-deliveries?page[size]=25&page[number]=1").json()["data"]

    assert wrong(row, FAILED) == odd(row, "failed") == {}


def test_what_is_blocked_is_shown_and_blocked_as_the_apps_do(alice: User, api: Api) -> None:
    alias = issue(owner=alice)
    Contact.objects.create(alias=alias, address="spam@shop.test", reverse_address="r@example.com")
    client = api(alice)

    made = client.post("/api/v1/blocklist", {"type": "email", "value": "spam@shop.test"}, format="json")
    (row,) = client.get("/api/v1/blocklist?page[size]=100&page[number]=1&filter[search]=spam").json()["data"]

    assert made.status_code == 201
    for entry in (made.json()["data"], row):
        assert wrong(entry, BLOCKED) == odd(entry, "blocked") == {}


@pytest.mark.parametrize("deed", ["deactivate", "activate", "pin", "unpin", "delete", "restore", "forget"])
def test_a_bulk_call_tells_which_and_a_sentence(alice: User, api: Api, deed: str) -> None:
    alias = issue(owner=alice)
    if deed == "activate":
        alias.disable()
    if deed == "restore":
        alias.soft_delete()
    if deed == "unpin":
        alias.edit(pinned=True)

    told = api(alice).post(f"/api/v1/aliases/{deed}/bulk", {"ids": [str(alias.uuid)]}, format="json").json()

    assert told["ids"] == [str(alias.uuid)]
    assert isinstance(told["message"], str)


def test_the_app_cannot_make_an_account_or_delete_one_and_says_why(alice: User, api: Api) -> None:
    client = APIClient()
    sent = {"username": "eve", "email": "eve@home.test", "password": "eve-password-1", "device_name": "x"}

    register = client.post("/api/auth/register", sent, format="json")
    verify = client.post("/api/auth/verify/?id=1&hash=x")
    deletion = api(alice).post("/api/auth/delete-account", {"password": "alice-password-1"}, format="json")

    assert register.status_code == 422
    assert register.json()["message"] == "Only an admin can create accounts on this server."
    assert (verify.status_code, set(verify.json())) == (404, {"message"})
    assert deletion.status_code == 403
    assert re.fullmatch(
        r"No token can delete your account\. Delete it on the web page: https?://\S+/account/delete/",
        deletion.json()["message"],
    )
    assert User.objects.filter(pk=alice.pk).exists()
    assert not User.objects.filter(email="eve@home.test").exists()


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff"])
def test_making_an_account_with_what_is_no_json_is_refused(body: bytes) -> None:
    answer = APIClient().generic("POST", "/api/auth/register", body, "application/json")

    assert (answer.status_code, set(answer.json())) == (400, {"error"})


def test_the_extensions_day(alice: User, api: Api, home: EmailAddress) -> None:
    client = api(alice)
    client.credentials(HTTP_X_REQUESTED_WITH="XMLHttpRequest", HTTP_X_REQUESTED_FROM="browser-extension")
    EmailAddress.objects.create(user=alice, email="new@home.test")
    quick = {"domain": "example.com", "local_part": "", "format": "random_characters", "recipient_ids": []}

    recipients = client.get("/api/v1/recipients?filter[verified]=true&alias_count=false").json()["data"]
    alias = client.post("/api/v1/aliases", quick, format="json").json()["data"]
    # Its three filters are empty for "all", and the search is until it has three letters.
    listed = client.get(
        "/api/v1/aliases?filter[deleted]=&filter[active]=&filter[pinned]=&filter[search]="
        "&sort=-created_at&page[number]=1&page[size]=10"
    ).json()

    assert {row["email"] for row in recipients} == {alice.email, home.email}
    assert alias["email"] == f"{alias['local_part']}@{alias['domain']}"
    assert [row["id"] for row in listed["data"]] == [alias["id"]]
    assert (listed["meta"]["total"], listed["links"]["next"]) == (1, None)
    steps = [
        ("DELETE", f"active-aliases/{alias['id']}", {}, 204),
        ("POST", "active-aliases", {"id": alias["id"]}, 200),
        ("POST", "pinned-aliases", {"id": alias["id"]}, 200),
        ("DELETE", f"pinned-aliases/{alias['id']}", {}, 204),
        ("PATCH", f"aliases/{alias['id']}", {"description": "shop"}, 200),
        ("DELETE", f"aliases/{alias['id']}", {}, 204),
        ("PATCH", f"aliases/{alias['id']}/restore", {}, 200),
        ("DELETE", f"aliases/{alias['id']}/forget", {}, 204),
    ]
    for method, path, body, status in steps:
        assert client.generic(method, f"/api/v1/{path}", json.dumps(body)).status_code == status, path


DOCUMENT = Path(__file__).parents[3] / "docs" / "api-clients.md"
ROW = re.compile(r"^\| `([A-Z]+) (\S+)` \| [✓ ]*\| [✓ ]*\| [✓ ]*\| (\d{3})", re.MULTILINE)
ROWS = [(method, path, int(status)) for method, path, status in ROW.findall(DOCUMENT.read_text())]
# Other answers than SimpleLogin's clients get there.
TO_ADDY = {("POST", "/api/auth/register"): 422}


def test_the_document_has_the_clients_calls() -> None:
    assert len(ROWS) == len(set(ROWS)) > 90


@pytest.mark.parametrize(("method", "path", "status"), ROWS)
def test_the_document_says_how_a_call_is_answered(
    alice: User, api: Api, method: str, path: str, status: int
) -> None:
    if (method, path) in EXPECTED:
        # The tests of that table make the call.
        assert status == TO_ADDY.get((method, path), EXPECTED[method, path][0])
        return
    answer = api(alice).generic(method, path.replace(":id", NOBODY), b"{}", "application/json")
    assert status in {404, 405}
    assert (answer.status_code, set(answer.json())) == (status, {"message"})


def test_signing_out_in_the_app_ends_its_token_alone(alice: User, api: Api) -> None:
    client, other = api(alice), api(alice)

    answer = client.post("/api/auth/logout")

    assert (answer.status_code, answer.content) == (204, b"")
    assert client.get("/api/v1/account-details").status_code == 401
    assert other.get("/api/v1/account-details").status_code == 200
    assert Token.objects.count() == 1
