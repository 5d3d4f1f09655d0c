"""Many rows of values in one statement."""

import secrets
from datetime import timedelta

import pytest
from django.db import connection, models
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from aliases.issuing import NewAlias, insert_all, issue
from aliases.models import Alias, SenderDomain
from core.db.changes import CompiledInsert, insert_unless_present
from core.db.rows import literal
from core.ratelimit import Counter, Limit
from domains.models import Domain
from mail.models import Activity, Event

pytestmark = pytest.mark.django_db
HOSTILE = ["", 'a"{,}\\@b.test', "NULL", "%s %% {1}", "ü"]


def _alias(owner: User, domain: Domain, name: str, note: str = "") -> Alias:
    return Alias(address=f"{name}@{domain.name}", domain=domain, owner=owner, note=note)


def test_rows_are_what_save_would_have_made(alice: User, example_com: Domain) -> None:
    made = [_alias(alice, example_com, f"a{n}", note) for n, note in enumerate(HOSTILE)]

    insert_unless_present(made, Alias._meta.get_field("address"))

    for n, note in enumerate(HOSTILE):
        saved = _alias(alice, example_com, f"b{n}", note)
        saved.save()
        inserted = Alias.objects.get(pk=made[n].pk)
        for field in Alias._meta.concrete_fields:
            if field.name not in ("id", "uuid", "address", "created", "active_at"):
                assert getattr(inserted, field.attname) == getattr(saved, field.attname), field.name


def test_a_value_that_is_there_already_leaves_its_instance_without_a_key(
    alice: User, example_com: Domain
) -> None:
    there = issue(owner=alice)
    names = [there.address.partition("@")[0], "new", "new"]
    made = [_alias(alice, example_com, name) for name in names]

    insert_unless_present(made, Alias._meta.get_field("address"))

    assert [alias.pk is None for alias in made] == [True, False, True]
    assert Alias.objects.count() == 2


def test_those_of_the_new_rows_are_told_that_fulfil_a_condition(alice: User, example_com: Domain) -> None:
    there = issue(owner=alice)
    made = [_alias(alice, example_com, f"a{n}", note) for n, note in enumerate(("yes", "no", "yes"))]
    made.append(_alias(alice, example_com, there.address.partition("@")[0], "yes"))
    address = Alias._meta.get_field("address")

    told = insert_unless_present(made, address, also='"aliases_alias"."note" = \'yes\'')

    assert told == [made[0], made[2]]
    assert insert_unless_present([_alias(alice, example_com, "b")], address) == []


def test_rows_are_unique_by_several_fields(alice: User) -> None:
    alias = issue(owner=alice)
    SenderDomain.objects.create(alias=alias, domain="old.test")
    new = [SenderDomain(alias=alias, domain=domain) for domain in ("old.test", "new.test")]
    fields = [SenderDomain._meta.get_field(name) for name in ("alias", "domain")]

    insert_unless_present(new, *fields)

    assert [each.pk is None for each in new] == [True, False]
    assert SenderDomain.objects.count() == 2


def test_a_query_with_a_number_and_percent_signs_inserts_what_it_finds_for_each(alice: User) -> None:
    one, other = issue(owner=alice, note="100 % sure", name="sure"), issue(owner=alice, name="unsure")
    insert = CompiledInsert(
        Activity,
        ("alias", "event", "sender", "moment"),
        lambda alias, event, moment: Alias.objects.filter(
            models.Exists(Alias.objects.filter(pk=models.OuterRef("pk"))), pk=alias, note__contains=F("name")
        ).values_list("pk", event, "note", moment),
        returning="alias_id",
        alias=models.BigIntegerField(),
        event=models.CharField(),
        moment=models.DateTimeField(),
    )
    now = timezone.now()
    values = [{"alias": alias.pk, "event": Event.BLOCK, "moment": now} for alias in (one, other, one)]

    assert [tuple(row) for row in insert(values)] == [(one.pk,), (one.pk,)]
    rows = Activity.objects.values_list("alias", "event", "sender", "moment")
    assert list(rows) == [(one.pk, Event.BLOCK, "100 % sure", now)] * 2


@pytest.mark.postgresql
def test_postgresql_has_one_statement_for_any_number_of_rows(
    alice: User, mallory: User, root: User, example_com: Domain
) -> None:
    def texts(owners: list[User]) -> set[str]:
        new = [
            NewAlias(owner, _alias(owner, example_com, secrets.token_hex(8)), None, False, None, None)
            for owner in owners
        ]
        with CaptureQueriesContext(
            connection,
        ) as captured:
            insert_all(new)
        return {each["sql"].partition("'")[0] for each in captured if "unnest" in each["sql"]}

    assert len(texts([alice])) == 3
    assert texts([alice]) == texts([mallory, root]) == texts([alice, mallory, root])


def test_counters_that_are_hit_together_are_counted_each(alice: User) -> None:
    limits = [Limit(f"scope-{n}", 5, timedelta(hours=n + 1), step=n) for n in range(4)]

    for _ in range(2):
        hits = Counter.objects.hit(*((limit, key) for limit in limits for key in ("a", "b")))

    assert sorted((hit.limit.scope, hit.count) for hit in hits) == sorted(
        (limit.scope, 2 * limit.step) for limit in limits for _key in "ab"
    )


def test_what_is_as_in_a_new_instance_stands_in_the_statement(alice: User, example_com: Domain) -> None:
    given, address = ("address", "domain_id", "owner_id", "note"), Alias._meta.get_field("address")
    plain, noted = _alias(alice, example_com, "a"), _alias(alice, example_com, "b", HOSTILE[1])

    with CaptureQueriesContext(connection) as short:
        insert_unless_present([plain], address, given=given)
        insert_unless_present([noted], address, given=given)
    (sql, _sql) = (query["sql"] for query in short)

    assert "'all'" in sql
    assert "FALSE" in sql
    saved = _alias(alice, example_com, "c", HOSTILE[1])
    saved.save()
    for inserted in Alias.objects.filter(pk__in=[plain.pk, noted.pk]):
        for field in Alias._meta.concrete_fields:
            if field.name not in ("id", "uuid", "address", "note", "created", "active_at"):
                assert getattr(inserted, field.attname) == getattr(saved, field.attname), field.name
    assert Alias.objects.get(pk=noted.pk).note == HOSTILE[1]


@pytest.mark.parametrize(
    ("name", "value"), [("pinned", True), ("enabled", False), ("forwards", 7), ("admits", "pattern")]
)
def test_whatever_is_not_as_in_a_new_instance_is_written(
    alice: User, example_com: Domain, name: str, value: object
) -> None:
    other, plain = _alias(alice, example_com, "a"), _alias(alice, example_com, "b")
    setattr(other, name, value)
    given, address = ("address", "domain_id", "owner_id", "note"), Alias._meta.get_field("address")

    insert_unless_present([plain, other], address, given=given)

    assert getattr(Alias.objects.get(pk=other.pk), name) == value
    assert getattr(Alias.objects.get(pk=plain.pk), name) == getattr(plain, name)


@pytest.mark.parametrize("value", ["it's", "100 %", "a\\", "ü b", 1.5, b"x"])
def test_what_a_statement_could_misread_does_not_stand_in_it(value: object) -> None:
    assert literal(value) == ""
