"""The database follows foreign keys when code deletes rows that does not know their tables."""

import pytest
from allauth.account.models import EmailAddress
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ProjectState

from accounts.models import User
from core.db.foreign_keys import DeleteInDatabase
from hooks.models import Hook
from rules.models import Rule
from tests.rig.foreign_keys import actions

OF_OWNERS = DeleteInDatabase("rule", "owner")
OF_ADDRESSES = DeleteInDatabase("ruledestination", "address")


@pytest.fixture
def state() -> ProjectState:
    return MigrationLoader(connection).project_state()


def apply(operation: DeleteInDatabase, state: ProjectState) -> None:
    with connection.schema_editor(atomic=False) as editor:
        operation.database_forwards("rules", editor, state, state)


def delete_plainly(table: str, pk: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {table} WHERE id = %s", [pk])  # noqa: S608


@pytest.mark.django_db(transaction=True)
def test_a_link_outlives_its_address_and_a_rule_goes_with_its_owner(alice: User) -> None:
    other = EmailAddress.objects.create(user=alice, email="other@example.org", verified=True)
    rule = Rule.objects.create(owner=alice, name="One", forwards=True)
    link = rule.links.create(address=other)
    # The primary address is allauth's row, whose table the release before knows.
    EmailAddress.objects.exclude(pk=other.pk).delete()

    delete_plainly("account_emailaddress", other.pk)
    link.refresh_from_db()
    kept = (Rule.objects.count(), link.address_id)
    delete_plainly("accounts_user", alice.pk)

    assert kept == (1, None)
    assert not Rule.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_persons_hook_never_becomes_one_of_the_installation(alice: User) -> None:
    """A hook without an owner is told of everybody's aliases."""
    Hook.objects.make(owner=None, url="https://example.org/all", events=["alias.created"])
    Hook.objects.make(owner=alice, url="https://example.org/hers", events=["alias.created"])
    EmailAddress.objects.filter(user=alice).delete()

    delete_plainly("accounts_user", alice.pk)

    assert [hook.url for hook in Hook.objects.all()] == ["https://example.org/all"]


@pytest.mark.django_db(transaction=True)
def test_an_operation_can_be_repeated_and_taken_back(state: ProjectState) -> None:
    apply(OF_ADDRESSES, state)
    repeated = actions("rules_ruledestination")
    with connection.schema_editor(atomic=False) as editor:
        OF_ADDRESSES.database_backwards("rules", editor, state, state)
    taken_back = actions("rules_ruledestination")
    apply(OF_ADDRESSES, state)

    assert repeated == {"address_id": "SET NULL", "rule_id": "CASCADE"}
    assert taken_back == {"address_id": "", "rule_id": "CASCADE"}
    assert actions("rules_ruledestination") == repeated


@pytest.mark.sqlite
@pytest.mark.django_db(transaction=True)
def test_a_definition_that_somebody_has_changed_is_left_alone(state: ProjectState) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE rules_rule RENAME COLUMN owner_id TO person_id")
    try:
        with pytest.raises(LookupError, match=r"rules_rule\.owner_id"):
            apply(OF_OWNERS, state)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE rules_rule RENAME COLUMN person_id TO owner_id")

    assert actions("rules_rule") == {"owner_id": "CASCADE"}


@pytest.mark.django_db(transaction=True)
def test_what_cannot_be_done_is_not_written_as_if_it_were_when_only_sql_is_wanted(
    state: ProjectState,
) -> None:
    with connection.schema_editor(atomic=False, collect_sql=True) as editor:
        OF_OWNERS.database_backwards("rules", editor, state, state)

    assert editor.collected_sql
    assert actions("rules_rule") == {"owner_id": "CASCADE"}
