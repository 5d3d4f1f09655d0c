"""Which indexes there are: each one makes a new alias, or a message to one, cost more."""

import pytest
from django.apps import apps
from django.db import connection

from aliases.models import Alias, AliasQuerySet

pytestmark = pytest.mark.django_db

# Indexes whose columns another one begins with, with the same operators, collation and directions.
SERVED_BY_ANOTHER = """
    SELECT one.indexrelid::regclass::text, other.indexrelid::regclass::text
    FROM pg_index one JOIN pg_index other USING (indrelid)
    WHERE indrelid = %s::regclass AND one.indexrelid <> other.indexrelid AND NOT one.indisunique
    AND one.indpred IS NULL AND one.indexprs IS NULL AND other.indpred IS NULL AND other.indexprs IS NULL
    AND other.indkey::text || ' ' LIKE one.indkey::text || ' %%'
    AND other.indclass::text || ' ' LIKE one.indclass::text || ' %%'
    AND other.indcollation::text || ' ' LIKE one.indcollation::text || ' %%'
    AND other.indoption::text || ' ' LIKE one.indoption::text || ' %%'
"""


@pytest.mark.postgresql
def test_no_index_is_the_beginning_of_another() -> None:
    configs = [config for config in apps.get_app_configs() if "site-packages" not in config.path]
    tables = [model._meta.db_table for config in configs for model in config.get_models()]
    assert Alias._meta.db_table in tables

    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(SERVED_BY_ANOTHER, [table])
            assert cursor.fetchall() == []


@pytest.mark.postgresql
def test_an_address_is_in_one_index() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indexname FROM pg_indexes WHERE indexdef LIKE '%%.aliases_alias %%(address%%'", []
        )
        indexes = cursor.fetchall()

    assert indexes == [("alias_address_unique",)]


@pytest.mark.parametrize(
    "aliases",
    [
        Alias.objects.filter(address="a@example.com"),
        Alias.objects.filter(address__prefix="a."),
        Alias.objects.order_by("address")[:10],
        Alias.objects.filter(address__prefix="a.").order_by("-address"),
    ],
    ids=["value", "prefix", "order", "prefix in order"],
)
def test_the_index_of_addresses_finds_and_sorts(aliases: AliasQuerySet) -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # A planner without rows reads the table: ask what it could do.
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_bitmapscan = off")
    plan = aliases.explain()

    name = "alias_address_unique" if connection.vendor == "postgresql" else "sqlite_autoindex_aliases_alias_"
    assert name in plan
    assert "Sort" not in plan
    assert "TEMP B-TREE" not in plan
