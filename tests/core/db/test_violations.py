"""What is told of an IntegrityError, by either database."""

import uuid

import pytest
from allauth.account.models import EmailAddress
from django.db import IntegrityError, transaction
from psycopg.errors import UniqueViolation
from psycopg.pq import DiagnosticField

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias, AliasDestination, AliasPreferences
from core.db.violations import is_dangling, is_duplicate
from domains.models import Domain

ADDRESS, UUID = (Alias._meta.get_field(name) for name in ("address", "uuid"))


@pytest.mark.django_db
@pytest.mark.parametrize("twice", ["address", "uuid"])
def test_a_duplicate_is_one_of_its_own_field(alice: User, example_com: Domain, twice: str) -> None:
    values = {"address": "a@example.com", "uuid": uuid.uuid4()}
    Alias.objects.create(**values, domain=example_com, owner=alice)
    other = {"address": "b@example.com", "uuid": uuid.uuid4()} | {twice: values[twice]}

    with pytest.raises(IntegrityError) as raised, transaction.atomic():
        Alias.objects.create(**other, domain=example_com, owner=alice)

    assert is_duplicate(raised.value)
    assert is_duplicate(raised.value, ADDRESS) is (twice == "address")
    assert is_duplicate(raised.value, UUID) is (twice == "uuid")
    assert not is_dangling(raised.value)


@pytest.mark.django_db
def test_a_second_row_of_one_key_is_a_duplicate(alice: User) -> None:
    AliasPreferences.objects.create(user=alice)

    with pytest.raises(IntegrityError) as raised, transaction.atomic():
        AliasPreferences.objects.create(user=alice)

    assert is_duplicate(raised.value, AliasPreferences._meta.get_field("user"))


@pytest.mark.django_db
def test_a_value_that_is_missing_is_neither(example_com: Domain) -> None:
    with pytest.raises(IntegrityError) as raised, transaction.atomic():
        Alias.objects.create(address="a@example.com", domain=example_com, note=None)

    assert not is_duplicate(raised.value)
    assert not is_dangling(raised.value)


@pytest.mark.django_db(transaction=True)
def test_a_row_that_has_gone_is_told_at_the_end_of_the_transaction(alice: User) -> None:
    alias = issue(owner=alice)

    @transaction.atomic
    def link_and_remove() -> None:
        gone = EmailAddress.objects.create(user=alice, email="gone@home.test")
        AliasDestination.objects.create(alias=alias, address=gone)
        EmailAddress.objects.filter(pk=gone.pk)._raw_delete("default")

    with pytest.raises(IntegrityError) as raised:
        link_and_remove()

    assert is_dangling(raised.value)
    assert not is_duplicate(raised.value)


@pytest.mark.django_db
def test_a_creation_that_fails_for_another_reason_is_not_told_that_the_address_is_taken(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = uuid.uuid4()
    monkeypatch.setattr(UUID, "_get_default", lambda: same)
    issue(owner=alice)

    with pytest.raises(IntegrityError) as raised:
        issue(owner=alice)

    assert is_duplicate(raised.value, UUID)


@pytest.mark.parametrize(
    "detail", ["Key %s already exists.", "Schlüssel »%s« existiert bereits.", "%s 키가 이미 있습니다."]
)
def test_a_duplicate_is_recognised_in_whatever_language_the_server_says_so(detail: str) -> None:
    text = (detail % "(address)=((uuid)=@example.com)").encode()
    error = IntegrityError()
    error.__cause__ = UniqueViolation(info={DiagnosticField.MESSAGE_DETAIL: text})

    assert is_duplicate(error, ADDRESS)
    assert not is_duplicate(error, UUID)
