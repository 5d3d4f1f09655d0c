"""CompiledQuery queries: the ORM's own rows, from SQL that is built once."""

from typing import Any

import pytest
from django.db import DataError, IntegrityError, connection, models, transaction
from django.db.models import F
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from core.db.compiled import CompiledChange, CompiledQuery, RowsFrom, insert_row, insert_rows
from domains.models import Domain
from mail.models import Activity, Delivery, Event
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


def test_an_inserted_row_is_what_save_would_have_made(alice: User, example_com: Domain) -> None:
    values = {"domain": example_com, "owner": alice, "note": "n", "forwards": 3}
    one = Alias(address="one@example.com", **values)
    insert_row(one)
    two = Alias(address="two@example.com", **values)
    two.save(force_insert=True)

    rows = Alias.objects.in_bulk()
    for field in (column.attname for column in Alias._meta.concrete_fields):
        if field not in {"id", "address", "uuid", "created", "active_at"}:
            assert getattr(rows[one.pk], field) == getattr(rows[two.pk], field), field
    # Each row has one of its own.
    assert rows[one.pk].uuid == one.uuid != rows[two.pk].uuid
    assert not one._state.adding
    one.disable()
    assert not Alias.objects.get(pk=one.pk).enabled


def test_an_insertion_that_breaks_a_constraint_is_refused(alice: User, example_com: Domain) -> None:
    insert_row(Alias(address="one@example.com", domain=example_com, owner=alice))

    with pytest.raises(IntegrityError):
        insert_row(Alias(address="one@example.com", domain=example_com, owner=alice))


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


def test_rows_that_are_inserted_together_are_what_save_would_have_made(alice: User) -> None:
    alias, now = issue(owner=alice), timezone.now()
    senders = ["", 'a"{,}\\@b.test', "NULL", "ü" * 320]
    fields = [field.name for field in Activity._meta.fields if not field.primary_key]

    rows = [(alias.pk, Event.BLOCK, each, now, None) for each in senders]
    insert_rows(Activity, ("alias_id", "event", "sender", "moment", "contact_id"), rows)

    found = Activity.objects.order_by("pk").values_list(*fields)
    for each in senders:
        Activity(alias=alias, event=Event.BLOCK, sender=each, moment=now).save()
    both = list(Activity.objects.order_by("pk").values_list(*fields))
    assert list(found)[: len(senders)] == both[: len(senders)] == both[len(senders) :]


def test_rows_that_break_a_constraint_are_all_refused(alice: User) -> None:
    now, names = timezone.now(), ("alias_id", "digest", "moment")
    good = (issue(owner=alice).pk, "x", now)

    with pytest.raises(IntegrityError), transaction.atomic():
        insert_rows(Delivery, names, [good, (None, "y", now), (None, "y", now)])
    if connection.vendor == "postgresql":
        # Not cut, as a cast to the column's type would.
        with pytest.raises(DataError), transaction.atomic():
            insert_rows(Delivery, names, [good, (None, "x" * 65, now)])

    assert not Delivery.objects.exists()


def test_many_changes_each_to_its_own_row(alice: User) -> None:
    first, second, other = (issue(owner=alice) for _ in range(3))
    change = CompiledChange(
        lambda key, number: Alias.objects.filter(pk=key, enabled=True),
        lambda key, number: {"forwards": F("forwards") + number},
        key=models.BigIntegerField(),
        number=models.IntegerField(),
    )
    remove = CompiledChange(
        lambda key, event: Activity.objects.filter(alias=key, event=event),
        key=models.BigIntegerField(),
        event=models.CharField(),
    )
    now, events = timezone.now(), (Event.BLOCK, Event.FORWARD)
    rows = [(alias.pk, event, now, "") for alias in (first, second) for event in events]
    insert_rows(Activity, ("alias_id", "event", "moment", "sender"), rows)

    change([{"key": first.pk, "number": 2}, {"key": second.pk, "number": 3}])
    change([{"key": second.pk, "number": 1}])
    change([])
    remove([{"key": first.pk, "event": Event.BLOCK}, {"key": second.pk, "event": Event.FORWARD}])

    assert [Alias.objects.get(pk=each.pk).forwards for each in (first, second, other)] == [2, 4, 0]
    left = Activity.objects.values_list("alias", "event")
    assert set(left) == {(first.pk, Event.FORWARD), (second.pk, Event.BLOCK)}
