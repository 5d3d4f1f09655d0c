"""Rows are inserted, changed and deleted as the ORM would do it, by SQL that is built once."""

import pytest
from django.db import DataError, IntegrityError, connection, models, transaction
from django.db.models import F
from django.utils import timezone

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from core.db.changes import CompiledChange, insert_row, insert_rows
from domains.models import Domain
from mail.models import Activity, Delivery, Event

pytestmark = pytest.mark.django_db


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
