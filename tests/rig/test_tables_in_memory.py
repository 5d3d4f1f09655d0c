"""The tests' database in memory has threads wait for each other, as one in a file does."""

import threading

import pytest
from django.db import connection, transaction

from domains.models import Domain

pytestmark = [pytest.mark.sqlite, pytest.mark.django_db(transaction=True)]


def test_whoever_writes_while_another_thread_does_waits(example_com: Domain) -> None:
    has_written, may_end = threading.Event(), threading.Event()

    def write() -> None:
        with transaction.atomic():
            Domain.objects.filter(pk=example_com.pk).update(is_shared=True)
            has_written.set()
            may_end.wait(20)
        connection.close()

    other = threading.Thread(target=write)
    other.start()
    assert has_written.wait(20)
    threading.Timer(0.3, may_end.set).start()
    Domain.objects.filter(pk=example_com.pk).update(anonmail_enabled=False)
    assert may_end.is_set()
    other.join(20)

    example_com.refresh_from_db()
    assert (example_com.is_shared, example_com.anonmail_enabled) == (True, False)
