"""Domains and user names as addy.io's apps change them: names, catch-all, where mail to new aliases goes."""

from typing import Any

import pytest
from allauth.account.models import EmailAddress

from accounts.models import User
from aliases.by_mail import Chance, make
from aliases.models import Alias, NameRule, NameSpace
from aliases.spaces import change
from core.addresses import parse_address
from domains.models import Domain
from tests.api.addy.app_fields import RECIPIENT, odd, wrong
from tests.api.addy.calls import recipient_id
from tests.api.addy.name_spaces import KINDS, id_of, refused
from tests.api.calls import V1
from tests.conftest import Api
from tests.rig.openpgp import FINGERPRINT, PUBLIC_KEY

pytestmark = pytest.mark.django_db


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
