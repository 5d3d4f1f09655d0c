"""CompiledQuery queries: the ORM's own rows, from SQL that is built once."""

from typing import Any

import pytest
from django.db import models
from django.db.models import F
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from core.db.compiled import CompiledQuery, RowsFrom
from domains.models import Domain
from tokens.models import Token

pytestmark = pytest.mark.django_db


def test_rows_are_those_of_the_orm_with_every_type_of_column(alice: User) -> None:
    made, _secret = Token.objects.issue(
        owner=alice, name="a", networks=["192.0.2.0/24"], expires=timezone.now()
    )
    by_name = CompiledQuery(
        lambda name: Token.objects.filter(name=name).select_related("owner").annotate(twice=F("pk") * 2),
        name=models.CharField(),
    )

    (token,) = by_name(name="a")

    expected = Token.objects.get()
    for field in Token._meta.concrete_fields:
        assert getattr(token, field.attname) == getattr(expected, field.attname), field.name
    assert token.networks == made.networks
    assert token.twice == 2 * made.pk
    assert Token.owner.is_cached(token)
    assert token.owner == alice
    assert token.owner.date_joined == alice.date_joined
    assert by_name(name="b") == []


def test_columns_that_were_left_out_are_loaded_when_they_are_asked_for(
    alice: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    by_email = CompiledQuery(
        lambda email: User.objects.filter(email=email).only("email"), email=models.CharField()
    )
    (found,) = by_email(email=alice.email)

    with django_assert_num_queries(1):
        assert found.name == alice.name


def test_the_query_is_built_once_and_run_with_other_values(example_com: Domain, other_org: Domain) -> None:
    built = []

    def build(name: object, enabled: object) -> models.QuerySet[Domain, tuple[str]]:
        built.append(name)
        return Domain.objects.filter(name=name, anonmail_enabled=enabled).values_list("name")

    query = CompiledQuery(build, name=models.CharField(), enabled=models.BooleanField())

    assert query(name="example.com", enabled=True) == [("example.com",)]
    assert query(name="other.org", enabled=True) == [("other.org",)]
    assert query(name="other.org", enabled=False) == []
    assert len(built) == 1


@pytest.mark.parametrize("name", ["x' OR '1'='1", "%", "_", "%s", "example.com\x00"[:11] + "%(x)s"])
def test_a_value_is_never_part_of_the_statement(example_com: Domain, name: str) -> None:
    query = CompiledQuery(
        lambda name: Domain.objects.filter(name=name).values_list("name"), name=models.CharField()
    )
    prefixed = CompiledQuery(
        lambda text: Alias.objects.filter(address__prefix=text).values_list("address"),
        text=models.CharField(),
    )

    assert query(name=name) == []
    assert prefixed(text=name) == []


def test_a_prefix_is_compiled_too(alice: User) -> None:
    alias = issue(owner=alice, hostname="github.com")
    query = CompiledQuery(
        lambda text: Alias.objects.filter(address__prefix=text).values_list("address"),
        text=models.CharField(),
    )

    assert query(text="github.") == [(alias.address,)]
    assert query(text="githu_") == query(text="GITHUB") == []


def test_a_slice_begins_where_it_is_told_when_it_is_run(alice: User) -> None:
    keys = [issue(owner=alice).pk for _number in range(5)]

    def build(start: Any) -> models.QuerySet[Alias, tuple[int]]:
        newest = Alias.objects.order_by("-pk").values("pk")[:2]
        return Alias.objects.filter(pk__in=RowsFrom(newest, start)).order_by("-pk").values_list("pk")

    page = CompiledQuery(build, start=models.BigIntegerField())

    for start, expected in ((0, [keys[4], keys[3]]), (3, [keys[1], keys[0]]), (4, [keys[0]]), (5, [])):
        assert [key for (key,) in page(start=start)] == expected
        assert [key for (key,) in build(start)] == expected


def test_a_list_of_any_length_is_one_statement(example_com: Domain, other_org: Domain) -> None:
    among = CompiledQuery(
        lambda names: Domain.objects.filter(name__among=names).order_by("name").values_list("name"),
        names=models.CharField(),
    )

    both = [example_com.name, other_org.name]
    assert among(names=[*both, "'; --"]) == [(name,) for name in both]
    assert among(names=[other_org.name]) == [(other_org.name,)]
    assert among(names=[]) == []
