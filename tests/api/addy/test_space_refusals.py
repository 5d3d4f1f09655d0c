"""What addy.io's apps cannot do to a domain or a user name, and whose it has to be."""

from typing import Any

import pytest
from allauth.account.models import EmailAddress

from accounts.models import User
from aliases import spaces
from aliases.models import NameRule, NameSpace
from domains.models import Domain
from tests.api.addy.calls import NOBODY, recipient_id
from tests.api.addy.name_spaces import KINDS, id_of, refused
from tests.api.calls import V1
from tests.conftest import Api

pytestmark = pytest.mark.django_db


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
