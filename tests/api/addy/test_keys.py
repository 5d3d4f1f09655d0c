"""addy.io's calls about recipients' keys, and SimpleLogin's words for them."""

from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from aliases.issuing import issue
from api.addy.ids import public_id
from mail.encryption import keys
from mail.models import DestinationKey
from tests.api.addy.calls import NOBODY, recipient_id
from tests.api.calls import V1
from tests.conftest import Api
from tests.rig.openpgp import FINGERPRINT, PUBLIC_KEY

pytestmark = pytest.mark.django_db


@pytest.fixture
def recipient(alice: User) -> str:
    return str(public_id("recipient", EmailAddress.objects.get(user=alice).pk))


def facts(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["should_encrypt"], row["protected_headers"], row["inline_encryption"], row["fingerprint"]


def test_a_key_is_given_switched_and_removed(alice: User, api: Api, recipient: str) -> None:
    client = api(alice)
    issue(owner=alice)

    given = client.patch(f"{V1}/recipient-keys/{recipient}", {"key_data": PUBLIC_KEY}, format="json")
    assert given.status_code == 200
    assert facts(given.json()["data"]) == (True, False, False, FINGERPRINT.upper())
    assert given.json()["data"]["aliases_count"] == 1

    off = client.delete(f"{V1}/encrypted-recipients/{recipient}")
    hidden = client.post(f"{V1}/protected-headers-recipients", {"id": recipient}, format="json")
    assert off.status_code == 204
    assert facts(hidden.json()["data"]) == (False, True, False, FINGERPRINT.upper())

    on = client.post(f"{V1}/encrypted-recipients", {"id": recipient}, format="json")
    assert facts(on.json()["data"]) == (True, True, False, FINGERPRINT.upper())
    assert facts(client.get(f"{V1}/recipients/{recipient}").json()["data"]) == facts(on.json()["data"])
    assert facts(client.get(f"{V1}/recipients").json()["data"][0]) == facts(on.json()["data"])
    assert client.delete(f"{V1}/protected-headers-recipients/{recipient}").status_code == 204

    assert client.delete(f"{V1}/recipient-keys/{recipient}").status_code == 204
    assert facts(client.get(f"{V1}/recipients/{recipient}").json()["data"]) == (False, False, False, None)
    assert client.delete(f"{V1}/recipient-keys/{recipient}").status_code == 204


def test_aliases_show_their_recipients_keys(alice: User, api: Api, recipient: str) -> None:
    client = api(alice)
    alias = issue(owner=alice)
    client.patch(f"{V1}/recipient-keys/{recipient}", {"key_data": PUBLIC_KEY}, format="json")
    wanted = (True, False, False, FINGERPRINT.upper())

    one = client.get(f"{V1}/aliases/{alias.uuid}").json()["data"]
    (listed,) = client.get(f"{V1}/aliases").json()["data"]
    body = {"alias_id": str(alias.uuid), "recipient_ids": [recipient]}
    changed = client.post(f"{V1}/alias-recipients", body, format="json").json()["data"]

    assert [facts(row["recipients"][0]) for row in (one, listed, changed)] == [wanted] * 3


MADE = [
    ("/api/alias/random/new", {}),
    ("/api/v2/alias/custom/new", {"alias_prefix": "shop", "signed_suffix": "{suffix}"}),
    (
        "/api/v3/alias/custom/new",
        {"alias_prefix": "shop", "signed_suffix": "{suffix}", "mailbox_ids": ["{mailbox}"]},
    ),
    (f"{V1}/aliases", {"domain": "example.com"}),
    (f"{V1}/aliases", {"domain": "example.com", "recipient_ids": ["{recipient}"]}),
    (f"{V1}/aliases", {"domain": "example.com", "format": "custom", "local_part": "shop"}),
]


def made(client: Any, path: str, body: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """What is told of an alias that is made so, and how many statements that takes."""
    suffix = client.get("/api/v5/alias/options").json()["suffixes"][0]["signed_suffix"]
    address = EmailAddress.objects.get(primary=True)
    words = {"{suffix}": suffix, "{mailbox}": address.pk, "{recipient}": recipient_id(address)}

    def filled(value: Any) -> Any:
        return [filled(each) for each in value] if isinstance(value, list) else words.get(value, value)

    sent = {name: filled(value) for name, value in body.items()}
    with CaptureQueriesContext(connection) as statements:
        answer = client.post(path, sent, format="json")
    assert answer.status_code == 201, answer.content
    return answer.json(), len(statements)


def told(answer: dict[str, Any]) -> tuple[Any, ...]:
    """What either dialect tells of encryption."""
    if "data" in answer:
        return facts(answer["data"]["recipients"][0])
    return answer["support_pgp"], answer["disable_pgp"]


@pytest.mark.parametrize(("path", "body"), MADE)
@pytest.mark.parametrize("is_used", [True, False])
@pytest.mark.parametrize("hides_subject", [True, False])
def test_who_makes_an_alias_is_told_of_the_key_at_no_further_statement(
    alice: User,
    api: Api,
    recipient: str,
    path: str,
    body: dict[str, Any],
    is_used: bool,
    hides_subject: bool,
) -> None:
    client = api(alice)
    made(client, f"{V1}/aliases", {"domain": "example.com"})  # counters, and the token's last use
    is_addys = path.startswith(V1)

    without, statements = made(client, path, body)
    client.patch(f"{V1}/recipient-keys/{recipient}", {"key_data": PUBLIC_KEY}, format="json")
    DestinationKey.objects.update(is_used=is_used, hides_subject=hides_subject)
    again = {name: "more" if value == "shop" else value for name, value in body.items()}
    with_key, as_many = made(client, path, again)

    assert told(without) == ((False, False, False, None) if is_addys else (False, False))
    wanted = (is_used, hides_subject, False, FINGERPRINT.upper()) if is_addys else (is_used, False)
    assert told(with_key) == wanted
    assert as_many == statements
    key = with_key.get("data", with_key)["id"]
    shown = client.get(f"{V1}/aliases/{key}" if is_addys else f"/api/aliases/{key}").json()
    assert told(shown) == told(with_key)


def test_simplelogin_says_whether_an_alias_is_encrypted_and_switches_it_off(
    alice: User, api: Api, recipient: str
) -> None:
    client = api(alice)
    alias = issue(owner=alice)
    path = f"/api/aliases/{alias.pk}"

    def said() -> set[tuple[bool, bool]]:
        rows = [client.get(path).json(), client.get("/api/v2/aliases?page_id=0").json()["aliases"][0]]
        return {(row["support_pgp"], row["disable_pgp"]) for row in rows}

    assert said() == {(False, False)}
    client.patch(f"{V1}/recipient-keys/{recipient}", {"key_data": PUBLIC_KEY}, format="json")
    assert said() == {(True, False)}
    assert client.patch(path, {"disable_pgp": True}, format="json").json() == {"ok": True}
    assert said() == {(True, True)}
    assert client.patch(path, {"note": "x"}, format="json").json() == {"ok": True}
    assert said() == {(True, True)}
    client.delete(f"{V1}/encrypted-recipients/{recipient}")
    assert said() == {(False, True)}


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "The field “key_data” is required."),
        ({"key_data": ""}, "The field “key_data” is required."),
        ({"key_data": None}, "The field “key_data” is required."),
        ({"key_data": "hello"}, "This is not an OpenPGP public key."),
        ({"key_data": PUBLIC_KEY + PUBLIC_KEY}, "These are several keys. Give exactly one."),
    ],
)
def test_what_is_no_key_is_refused_by_its_field(
    alice: User, api: Api, recipient: str, body: dict[str, Any], sentence: str
) -> None:
    answer = api(alice).patch(f"{V1}/recipient-keys/{recipient}", body, format="json")

    assert answer.status_code == 422
    assert answer.json() == {"message": sentence, "errors": {"key_data": [sentence]}}
    assert not DestinationKey.objects.exists()


def test_half_a_surrogate_pair_is_no_key(alice: User, api: Api, recipient: str) -> None:
    path, body = f"{V1}/recipient-keys/{recipient}", b'{"key_data": "\\ud800"}'

    answer = api(alice).patch(path, body, content_type="application/json")

    assert answer.status_code == 422
    assert answer.json()["message"] == "This is not an OpenPGP public key."


def test_a_recipient_that_is_not_verified_gets_no_key(alice: User, api: Api) -> None:
    home = EmailAddress.objects.create(user=alice, email="alice@home.test")
    path = f"{V1}/recipient-keys/{public_id('recipient', home.pk)}"

    assert api(alice).patch(path, {"key_data": PUBLIC_KEY}, format="json").status_code == 422


@pytest.mark.parametrize("word", ["encrypted", "protected-headers"])
def test_without_a_key_there_is_nothing_to_switch_on(
    alice: User, api: Api, recipient: str, word: str
) -> None:
    client = api(alice)
    sentence = "This recipient has no OpenPGP key. Add one first."

    on = client.post(f"{V1}/{word}-recipients", {"id": recipient}, format="json")
    off = client.delete(f"{V1}/{word}-recipients/{recipient}")

    assert on.status_code == 422
    assert on.json() == {"message": sentence, "errors": {"id": [sentence]}}
    assert off.status_code == 204


def test_text_alone_is_not_encrypted(alice: User, api: Api, recipient: str) -> None:
    client = api(alice)

    on = client.post(f"{V1}/inline-encrypted-recipients", {"id": recipient}, format="json")

    assert (on.status_code, list(on.json())) == (403, ["message"])
    assert client.delete(f"{V1}/inline-encrypted-recipients/{recipient}").status_code == 204


def test_keys_are_given_some_times_an_hour(
    alice: User, api: Api, recipient: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "PER_HOUR", 1)
    client = api(alice)
    client.patch(f"{V1}/recipient-keys/{recipient}", {"key_data": PUBLIC_KEY}, format="json")

    answer = client.patch(f"{V1}/recipient-keys/{recipient}", {"key_data": PUBLIC_KEY}, format="json")

    assert answer.status_code == 429
    assert int(answer["Retry-After"]) > 0


def test_a_strangers_recipient_does_not_exist(alice: User, mallory: User, api: Api, recipient: str) -> None:
    api(alice).patch(f"{V1}/recipient-keys/{recipient}", {"key_data": PUBLIC_KEY}, format="json")
    client = api(mallory)

    answers = [
        answer
        for key in (recipient, NOBODY)
        for answer in (
            client.patch(f"{V1}/recipient-keys/{key}", {"key_data": PUBLIC_KEY}, format="json"),
            client.delete(f"{V1}/recipient-keys/{key}"),
            *(
                client.post(f"{V1}/{word}-recipients", {"id": str(key)}, format="json")
                for word in ("encrypted", "protected-headers", "inline-encrypted")
            ),
            *(
                client.delete(f"{V1}/{word}-recipients/{key}")
                for word in ("encrypted", "protected-headers", "inline-encrypted")
            ),
        )
    ]

    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    assert DestinationKey.objects.get().is_used
