"""The rest of SimpleLogin's API: custom names, mailboxes, settings, exports, signing in."""

import csv
import io
import re
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from allauth.account.models import EmailAddress
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from django.core import mail
from django.utils import timezone
from pytest_django import Settings
from rest_framework.test import APIClient

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias, AliasPreferences, NameSpace
from aliases.spaces import give
from domains.models import Domain
from mail.models import PausedDestination
from tests.conftest import Api
from tokens.models import Token

pytestmark = pytest.mark.django_db

PASSWORD = "alice-password-1"


@pytest.fixture
def shared_org(alice: User) -> Domain:
    """A domain with ordinary mailboxes, on which alice may create."""
    domain = Domain.objects.create(name="shared.org", anonmail_enabled=True, is_shared=True)
    domain.grant(alice)
    return domain


def offered(client: APIClient, hostname: str = "") -> dict[str, str]:
    """Each ending that is offered, and its signed form."""
    rows = client.get(f"/api/v5/alias/options?hostname={hostname}").json()["suffixes"]
    return {row["suffix"]: row["signed_suffix"] for row in rows}


def test_options_offer_endings_and_recommend_what_there_is(alice: User, shared_org: Domain, api: Api) -> None:
    client = api(alice)
    first = client.get("/api/v5/alias/options?hostname=www.github.com").json()
    alias = issue(owner=alice, hostname="www.github.com")
    issue(owner=alice, hostname="www.github.com").soft_delete()
    second = client.get("/api/v5/alias/options?hostname=www.github.com").json()
    old = client.get("/api/v4/alias/options?hostname=www.github.com").json()
    bare = client.get("/api/v5/alias/options").json()

    assert first["can_create"] is True
    assert first["prefix_suggestion"] == "github"
    assert "recommendation" not in first
    endings = [row["suffix"] for row in first["suffixes"]]
    assert endings[0] == "@example.com"
    assert re.fullmatch(r"\.[a-z]+@example\.com", endings[1])
    assert re.fullmatch(r"\.[a-z]+@shared\.org", endings[2])
    assert len(endings) == 3  # never the bare shared domain
    assert second["recommendation"] == {"alias": alias.address, "hostname": "www.github.com"}
    assert all(len(pair) == 2 for pair in old["suffixes"])
    assert bare["prefix_suggestion"] == ""
    assert "recommendation" not in bare


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_a_custom_alias_is_made_from_prefix_and_ending(alice: User, api: Api, version: str) -> None:
    client = api(alice)
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    body = {
        "alias_prefix": "My-Shop",
        "signed_suffix": offered(client)["@example.com"],
        "mailbox_ids": [home.pk],
        "note": "n",
        "name": "Alice",
    }

    answer = client.post(f"/api/{version}/alias/custom/new?hostname=shop.test", body, format="json")

    assert answer.status_code == 201
    made = answer.json()
    assert made["alias"] == made["email"] == "my-shop@example.com"
    assert (made["note"], made["name"]) == ("n", "Alice")
    expected = "alice@home.test" if version == "v3" else "alice@example.com"
    assert [box["email"] for box in made["mailboxes"]] == [expected]
    assert Alias.objects.get().hostname == "shop.test"
    again = client.post(f"/api/{version}/alias/custom/new", body, format="json")
    assert (again.status_code, again.json()) == (
        409,
        {"error": "This address is taken. Choose another name."},
    )


@pytest.mark.parametrize("key", ["{home}", "0{home}"])
def test_a_mailbox_may_be_named_by_the_text_of_its_id(alice: User, api: Api, key: str) -> None:
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    alias = issue(owner=alice)
    body = {"mailbox_ids": [key.format(home=home.pk)]}

    assert api(alice).put(f"/api/aliases/{alias.pk}", body, format="json").status_code == 200
    assert [row.email for row in alias.destinations.all()] == ["alice@home.test"]


@pytest.mark.parametrize("key", ["", "x", "-1", "0", "²", "9" * 19, "9" * 5000, 1.0, None, [1]])
def test_what_is_no_id_is_no_mailbox(alice: User, api: Api, key: Any) -> None:
    alias = issue(owner=alice)

    answer = api(alice).put(f"/api/aliases/{alias.pk}", {"mailbox_ids": [key]}, format="json")

    assert (answer.status_code, set(answer.json())) == (400, {"error"})


def test_an_ending_is_for_its_user_and_for_ten_minutes(alice: User, root: User, api: Api) -> None:
    client = api(alice)
    signed = offered(client)["@example.com"]
    body = {"alias_prefix": "shop", "signed_suffix": signed}
    path = "/api/v2/alias/custom/new"

    tampered = client.post(path, {**body, "signed_suffix": signed.replace("@", ".x@")}, format="json")
    theirs = api(root).post(path, body, format="json")
    missing = client.post(path, {"alias_prefix": "shop"}, format="json")
    with time_machine.travel(timezone.now() + timedelta(seconds=601)):
        late = client.post(path, body, format="json")

    assert [answer.status_code for answer in (tampered, theirs, missing, late)] == [412] * 4
    assert late.json() == {"error": "Alias creation time is expired, please retry"}
    assert not Alias.objects.exists()


@pytest.mark.parametrize(
    "prefix",
    ["", "a..b", "-a", "a.", "ü", "info", "b.x", "postmaster", "a@b", "a+b", "x" * 41, 5, None, ["a"]],
)
def test_a_prefix_that_is_no_name_is_refused(alice: User, api: Api, prefix: Any) -> None:
    client = api(alice)
    body = {"alias_prefix": prefix, "signed_suffix": offered(client)["@example.com"]}

    answer = client.post("/api/v2/alias/custom/new", body, format="json")

    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}
    assert not Alias.objects.exists()


def test_the_access_rule_holds_when_the_ending_is_used(alice: User, shared_org: Domain, api: Api) -> None:
    client = api(alice)
    signed = next(signed for suffix, signed in offered(client).items() if suffix.endswith("@shared.org"))
    body = {"alias_prefix": "shop", "signed_suffix": signed}
    shared_org.revoke(alice)

    assert client.post("/api/v2/alias/custom/new", body, format="json").status_code == 403
    shared_org.set_anonmail(False)
    assert client.post("/api/v2/alias/custom/new", body, format="json").status_code == 404


def test_the_old_list_has_the_old_object(alice: User, api: Api) -> None:
    alias = issue(owner=alice)

    rows = api(alice).get("/api/aliases?page_id=0").json()["aliases"]

    assert [row["id"] for row in rows] == [alias.pk]
    assert "mailboxes" not in rows[0]
    assert api(alice).get("/api/aliases").status_code == 400


def test_mailboxes_are_own_addresses(alice: User, root: User, api: Api) -> None:
    client = api(alice)
    primary = EmailAddress.objects.get(user=alice)
    issue(owner=alice)
    added = client.post("/api/mailboxes", {"email": "Alice@Home.test"}, format="json")
    home = EmailAddress.objects.get(email="alice@home.test")

    assert added.status_code == 201
    assert added.json()["verified"] is False
    assert "messages" not in added.cookies
    assert mail.outbox[0].to == ["alice@home.test"]
    assert [box["email"] for box in client.get("/api/mailboxes").json()["mailboxes"]] == [primary.email]
    everything = client.get("/api/v2/mailboxes").json()["mailboxes"]
    assert [(box["email"], box["default"], box["nb_alias"]) for box in everything] == [
        (primary.email, True, 1),
        ("alice@home.test", False, 0),
    ]
    # What changes nothing is no change of how alice signs in.
    for body in ({"default": True, "email": primary.email}, {"default": False}, {}):
        answer = client.put(f"/api/mailboxes/{primary.pk}", body, format="json")
        assert answer.json() == {"updated": True}
    assert client.put(f"/api/mailboxes/{home.pk}", {"default": True}, format="json").status_code == 403
    theirs = EmailAddress.objects.get(user=root)
    for method in ("put", "delete"):
        assert getattr(client, method)(f"/api/mailboxes/{theirs.pk}").status_code == 404


@pytest.mark.parametrize("email", ["", "no address", "a@b", "a b@home.test", 5])
def test_what_is_no_address_is_no_mailbox(alice: User, api: Api, email: Any) -> None:
    answer = api(alice).post("/api/mailboxes", {"email": email}, format="json")

    assert answer.status_code == 400
    assert EmailAddress.objects.filter(user=alice).count() == 1


def test_an_alias_is_no_mailbox_and_tries_are_limited(alice: User, api: Api, settings: Settings) -> None:
    settings.ADDRESSES_PER_HOUR = 2
    client = api(alice)
    alias = issue(owner=alice)

    codes = [
        client.post("/api/mailboxes", {"email": alias.address}, format="json").status_code for _ in range(3)
    ]

    assert codes == [400, 400, 429]


def test_a_mailbox_is_deleted_and_its_aliases_move(alice: User, root: User, api: Api) -> None:
    client = api(alice)
    primary = EmailAddress.objects.get(user=alice)
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    alias = issue(owner=alice, destinations=["alice@home.test"])
    theirs = EmailAddress.objects.get(user=root)

    def delete(key: int, target: Any = None) -> int:
        body = {} if target is None else {"transfer_aliases_to": target}
        return client.delete(f"/api/mailboxes/{key}", body, format="json").status_code

    assert delete(primary.pk) == 409
    assert delete(home.pk) == 409
    assert delete(home.pk, -1) == 409
    for target in (home.pk, theirs.pk, "x", True, 0, 2**70):
        assert delete(home.pk, target) == 400
    assert EmailAddress.objects.filter(pk=home.pk).exists()
    assert delete(home.pk, primary.pk) == 200
    assert [address.email for address in alias.destinations.all()] == ["alice@example.com"]


def test_settings_are_read_and_changed(alice: User, shared_org: Domain, api: Api) -> None:
    client = api(alice)
    before = client.get("/api/setting").json()
    changed = client.patch(
        "/api/setting",
        {"random_alias_suffix": "random_string", "random_alias_default_domain": "shared.org"},
        format="json",
    ).json()
    as_uuid = client.patch("/api/setting", {"alias_generator": "uuid"}, format="json").json()

    assert before == {
        "alias_generator": "word",
        "notification": False,
        "random_alias_default_domain": "example.com",
        "sender_format": "AT",
        "random_alias_suffix": "word",
    }
    assert changed["random_alias_suffix"] == "random_string"
    assert changed["random_alias_default_domain"] == "shared.org"
    assert as_uuid["alias_generator"] == "uuid"
    assert AliasPreferences.objects.get(user=alice).style == "uuid"
    back = client.patch("/api/setting", {"random_alias_default_domain": "example.com"}, format="json").json()
    assert back["random_alias_default_domain"] == "example.com"
    for body in (
        {"alias_generator": "x"},
        {"random_alias_default_domain": "elsewhere.test"},
        {"sender_format": "B"},
        {"notification": "yes"},
    ):
        assert client.patch("/api/setting", body, format="json").status_code == 400


def test_the_default_domain_that_is_told_is_the_one_that_is_used(
    alice: User, other_org: Domain, api: Api
) -> None:
    grant = other_org.grant(alice, granted_by=None)
    AliasPreferences.objects.create(user=alice, default_domain=other_org)
    client = api(alice)

    def told_used_and_offered() -> tuple[str, str, str]:
        told = client.get("/api/setting").json()["random_alias_default_domain"]
        used = client.post("/api/alias/random/new").json()["alias"].partition("@")[2]
        offered = client.get("/api/v5/alias/options").json()["suffixes"][0]["suffix"].partition("@")[2]
        return told, used, offered

    assert told_used_and_offered() == ("other.org", "other.org", "other.org")
    grant.delete()
    assert told_used_and_offered() == ("example.com", "example.com", "example.com")
    Domain.objects.update(anonmail_enabled=False)
    assert client.get("/api/setting").json()["random_alias_default_domain"] == ""


def test_domains_are_those_that_i_may_use(
    alice: User, shared_org: Domain, other_org: Domain, api: Api
) -> None:
    issue(owner=alice)
    client = api(alice)

    assert client.get("/api/v2/setting/domains").json() == [
        {"domain": "example.com", "is_custom": False},
        {"domain": "shared.org", "is_custom": False},
    ]
    assert client.get("/api/setting/domains").json() == [[True, "example.com"], [True, "shared.org"]]
    custom = client.get("/api/custom_domains").json()["custom_domains"]
    assert [(row["domain_name"], row["nb_alias"]) for row in custom] == [
        ("example.com", 1),
        ("shared.org", 0),
    ]


def test_a_catch_all_is_switched_by_whoever_has_all_names(
    alice: User, mallory: User, other_org: Domain, example_com: Domain, api: Api
) -> None:
    other_org.grant(alice)
    mine, others = give(domain=other_org, owner=alice), give(domain=example_com, owner=alice, suffix="alice")
    domain = Domain.objects.create(name="theirs.test", anonmail_enabled=True)
    domain.grant(mallory)
    theirs = give(domain=domain, owner=mallory)
    client = api(alice)
    before = client.get("/api/custom_domains").json()["custom_domains"]
    url = f"/api/custom_domains/{other_org.pk}"

    answer = client.patch(url, {"catch_all": True}, format="json")

    assert answer.status_code == 200
    assert [(row["domain_name"], row["catch_all"]) for row in before] == [
        ("example.com", False),
        ("other.org", False),
    ]
    assert answer.json()["custom_domain"] == before[1] | {"catch_all": True}
    after = client.get("/api/custom_domains").json()["custom_domains"]
    assert [row["catch_all"] for row in after] == [False, True]
    assert NameSpace.objects.making().get() == mine
    assert client.patch(url, {"catch_all": False}, format="json").json()["custom_domain"] == before[1]
    # A suffix is no catch-all, and another's or nobody's domain does not answer otherwise.
    for key in (others.domain_id, theirs.domain_id, 999):
        refused = client.patch(f"/api/custom_domains/{key}", {"catch_all": True}, format="json")
        assert refused.status_code == 403
    for body in ({}, {"name": "x"}, {"catch_all": None}):
        assert client.patch(url, body, format="json").status_code == 403
    for wrong in ("yes", 1, []):
        assert client.patch(url, {"catch_all": wrong}, format="json").status_code == 400
    assert not NameSpace.objects.making().exists()
    # Without access to the domain, nothing is made there; but the switch works, and can be seen.
    NameSpace.objects.filter(pk=mine.pk).update(enabled=True)
    other_org.revoke(alice)
    assert client.patch(url, {"catch_all": True}, format="json").status_code == 403
    rows = client.get("/api/custom_domains").json()["custom_domains"]
    assert [(row["domain_name"], row["catch_all"]) for row in rows] == [
        ("example.com", False),
        ("other.org", False),
    ]
    assert client.patch(url, {"catch_all": False}, format="json").json()["custom_domain"] == before[1]
    assert not NameSpace.objects.filter(enabled=True).exists()


def test_exports(alice: User, root: User, api: Api) -> None:
    home = EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    alias = issue(owner=alice, note='a "quoted", note', destinations=["alice@example.com", home.email])
    alias.disable()
    issue(owner=alice).soft_delete()
    issue(owner=root, domain="example.com")
    client = api(alice)

    answer = client.get("/api/export/aliases")
    rows = list(csv.reader(io.StringIO(b"".join(answer.streaming_content).decode())))  # type: ignore[attr-defined]

    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert rows == [
        ["alias", "note", "enabled", "mailboxes"],
        [alias.address, 'a "quoted", note', "False", "alice@example.com alice@home.test"],
    ]
    assert client.get("/api/export/data").json() == {
        "email": "alice@example.com",
        "name": "",
        "aliases": [{"email": alias.address, "enabled": False}],
        "apps": [],
        "custom_domains": [],
    }


def test_a_paused_destination_is_a_notification(alice: User, api: Api) -> None:
    client = api(alice)
    assert client.get("/api/notifications?page=0").json() == {"more": False, "notifications": []}
    PausedDestination.objects.create(destination=EmailAddress.objects.get(user=alice))

    (told,) = client.get("/api/notifications").json()["notifications"]

    assert told["message"] == "alice@example.com refused mail several times and is paused."
    assert client.get("/api/notifications?page=1").json()["notifications"] == []
    assert client.get("/api/notifications?page=x").status_code == 400


def test_the_name_is_changed(alice: User, api: Api) -> None:
    client = api(alice)

    assert client.patch("/api/user_info", {"name": "Alice\nB"}, format="json").json()["name"] == "Alice B"
    assert client.patch("/api/user_info", {"profile_picture": "x"}, format="json").status_code == 400
    assert client.patch("/api/user_info", {"profile_picture": None}, format="json").status_code == 200


def test_logging_out_revokes_the_token_it_came_with(alice: User, api: Api) -> None:
    client, other = api(alice), api(alice)

    assert client.get("/api/logout").status_code == 200
    assert client.get("/api/user_info").status_code == 401
    assert other.get("/api/user_info").status_code == 200


def sign_in(**fields: Any) -> Any:
    return APIClient().post(
        "/api/auth/login",
        {"email": "alice@example.com", "password": PASSWORD, "device": "phone"} | fields,
        format="json",
    )


def test_an_app_signs_in_with_a_password(alice: User) -> None:
    first = sign_in(email="ALICE@Example.com")
    second = sign_in()

    assert first.status_code == 200
    assert first.json()["mfa_enabled"] is False
    key = second.json()["api_key"]
    assert APIClient().get("/api/user_info", HTTP_AUTHENTICATION=key).json()["email"] == "alice@example.com"
    # The device's earlier token is gone: nobody could read it any more.
    assert Token.objects.get().name == "phone (signed in)"
    assert APIClient().get("/api/user_info", HTTP_AUTHENTICATION=first.json()["api_key"]).status_code == 401


def test_wrong_passwords_are_told_alike_and_limited(alice: User, settings: Settings) -> None:
    answers = [
        sign_in(password="wrong"),
        sign_in(email="nobody@example.com"),
        sign_in(email="x"),
        sign_in(email="", password=""),
    ]
    alice.deactivate()
    answers.append(sign_in())

    assert {answer.status_code for answer in answers} == {400}
    assert {answer.content for answer in answers} == {b'{"error":"Email or password incorrect"}'}
    codes = [sign_in(password="wrong").status_code for _ in range(12)]
    assert codes[-1] == 429
    assert not Token.objects.exists()


def test_fields_of_the_other_dialect_are_ignored(alice: User) -> None:
    credentials = {"email": alice.email, "password": "alice-password-1", "device": "phone"}

    answer = APIClient().post(
        "/api/auth/login", {**credentials, "expiration": "never", "device_name": 1}, format="json"
    )

    assert answer.status_code == 200


def test_signing_in_can_be_off(alice: User, settings: Settings) -> None:
    settings.API_PASSWORD_LOGIN = False

    assert sign_in().status_code == 403
    assert not Token.objects.exists()


def test_the_second_factor_is_asked_for(alice: User) -> None:
    secret = generate_totp_secret()
    TOTP.activate(alice, secret)
    first = sign_in().json()
    assert (first["mfa_enabled"], first["api_key"]) == (True, None)

    def confirm(code: Any, key: str = first["mfa_key"]) -> Any:
        body = {"mfa_token": code, "mfa_key": key, "device": "phone"}
        return APIClient().post("/api/auth/mfa", body, format="json")

    now = int(timezone.now().timestamp()) // 30
    code = format_hotp_value(hotp_value(secret, now))
    wrong = "000000" if code != "000000" else "111111"
    assert confirm(wrong).status_code == 400
    assert confirm(code, first["mfa_key"][:-1] + "x").status_code == 400
    for none in (-1, 10**6, True, 1.5, [], None):
        assert confirm(none).status_code == 400
    with time_machine.travel(timezone.now() + timedelta(seconds=301)):
        assert confirm(code).status_code == 400
    answer = confirm(code)
    assert answer.status_code == 200
    assert APIClient().get("/api/user_info", HTTP_AUTHENTICATION=answer.json()["api_key"]).status_code == 200
    # A code is good once.
    assert confirm(code).status_code == 400


def test_a_key_makes_no_key_and_without_one_it_is_a_json_401(alice: User, api: Api) -> None:
    bare = APIClient().post("/api/api_key", "{}", content_type="text/plain")

    assert (bare.status_code, set(bare.json())) == (401, {"error"})
    assert api(alice).post("/api/api_key", {"device": "x"}, format="json").status_code == 440
    assert Token.objects.count() == 1


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("/dashboard/", "/aliases/"),
        ("/dashboard/api_key", "/tokens/"),
        ("/onboarding", "/aliases/"),
        ("/auth/register", "/accounts/signup/"),
    ],
)
def test_the_pages_that_clients_open_lead_to_ours(db: None, path: str, leads_to: str) -> None:
    assert APIClient().get(path)["Location"] == leads_to
