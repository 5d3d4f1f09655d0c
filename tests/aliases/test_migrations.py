"""Migrations that rewrite rows: forwards and backwards, with rows there."""

from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor


def migrate(name: str) -> Any:
    """Bring the app to this migration and return the models of that time."""
    executor = MigrationExecutor(connection)
    executor.migrate([("aliases", name)])
    return MigrationExecutor(connection).loader.project_state([("aliases", name)]).apps


@pytest.mark.django_db(transaction=True)
def test_aliases_get_a_random_id_each_and_keep_it_until_it_is_taken_back() -> None:
    apps = migrate("0002_expiry")
    try:
        owner = apps.get_model("accounts", "User").objects.create(email="alice@example.com")
        domain = apps.get_model("domains", "Domain").objects.create(name="example.com")
        model = apps.get_model("aliases", "Alias")
        model.objects.bulk_create(
            model(address=f"a{number}@example.com", domain=domain, owner=owner) for number in range(20)
        )

        newer = migrate("0003_alias_uuid").get_model("aliases", "Alias")
        ids = list(newer.objects.values_list("uuid", flat=True))
        migrate("0002_expiry")

        assert len(set(ids)) == 20
        assert {value.version for value in ids} == {4}
        assert model.objects.count() == 20
    finally:
        executor = MigrationExecutor(connection)
        executor.migrate(executor.loader.graph.leaf_nodes())
