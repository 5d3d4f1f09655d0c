"""Instances that are made past Django's constructors are what those make."""

from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.db import DEFAULT_DB_ALIAS, models
from django.db.models.signals import post_init

from accounts.models import User
from aliases.models import Alias, AliasPreferences
from core.db.compiled import CompiledQuery
from core.db.instances import maker_of, new_instance
from domains.models import Domain
from tokens.models import Token

pytestmark = pytest.mark.django_db


def contents(instance: models.Model) -> dict[str, Any]:
    state = instance._state
    own = {name: value for name, value in vars(instance).items() if not name.startswith("_")}
    return own | {"state": (state.adding, state.db, dict(state.fields_cache))}


@pytest.mark.parametrize("model", [Alias, AliasPreferences, Domain, EmailAddress, Token, User])
def test_an_instance_of_a_row_is_djangos(model: type[models.Model]) -> None:
    names = [field.attname for field in model._meta.concrete_fields]
    for columns in (names, names[:3]):
        values = [f"value of {name}" for name in columns]

        made = maker_of(model, columns)(values)

        expected = model.from_db(DEFAULT_DB_ALIAS, columns, values)
        assert contents(made) == contents(expected)
        assert made.get_deferred_fields() == expected.get_deferred_fields() == {*names} - {*columns}
        assert made == expected


def test_related_rows_are_put_in_place_or_known_to_be_missing(alice: User, mallory: User) -> None:
    AliasPreferences.objects.create(user=alice, style="uuid")
    Token.objects.issue(owner=alice, name="a")
    Token.objects.issue(owner=mallory, name="b")
    rows = Token.objects.select_related("owner__alias_preferences").order_by("name")

    found = CompiledQuery(lambda: rows)()

    for token, expected in zip(found, rows, strict=True):
        assert contents(token) == contents(expected)
        assert contents(token.owner) == contents(expected.owner)
    assert found[0].owner.alias_preferences.style == "uuid"
    assert found[0].owner.alias_preferences.user is found[0].owner
    with pytest.raises(User.alias_preferences.RelatedObjectDoesNotExist):  # type: ignore[attr-defined]
        _ = found[1].owner.alias_preferences


def test_a_missing_row_has_no_related_ones_of_its_own(alice: User, example_com: Domain) -> None:
    Alias.objects.create(
        address="gone@example.com", domain=example_com, owner=None, deleted_at="2026-11-27T00:00Z"
    )
    rows = Alias.objects.select_related("owner__alias_preferences")

    (alias,) = CompiledQuery(lambda: rows)()

    assert alias.owner is None


def test_whoever_listens_for_instances_hears_of_them(alice: User) -> None:
    heard: list[int] = []

    def hear(instance: User, **_named: Any) -> None:
        heard.append(instance.pk)

    post_init.connect(hear, sender=User)
    try:
        CompiledQuery(lambda: User.objects.all())()
    finally:
        post_init.disconnect(hear, sender=User)

    assert heard == [alice.pk]


def test_a_new_instance_is_djangos(alice: User, example_com: Domain) -> None:
    values = {"address": "a@example.com", "domain": example_com, "owner": alice, "note": "n", "pinned": True}
    made, expected = new_instance(Alias, **values), Alias(**values)

    once = {"uuid", "created", "active_at"}
    for name, value in contents(made).items():
        if name in once:
            assert type(value) is type(getattr(expected, name))
        else:
            assert value == contents(expected)[name], name
    assert contents(made).keys() == contents(expected).keys()
    assert made.uuid != new_instance(Alias, **values).uuid
    made.save()
    assert Alias.objects.get().owner == alice


def test_lists_of_new_instances_are_not_shared(alice: User) -> None:
    first, second = (new_instance(Token, owner=alice, name=name) for name in "ab")
    first.networks.append("192.0.2.0/24")

    assert second.networks == []


def test_a_value_for_no_field_is_refused(alice: User) -> None:
    with pytest.raises(TypeError, match="nonsense"):
        new_instance(Token, owner=alice, nonsense=1)
