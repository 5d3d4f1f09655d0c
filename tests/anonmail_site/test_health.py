"""What load balancers and monitors ask, and what a stranger learns and can do with it."""

import os
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from anonmail_site import health
from anonmail_site.health import Health, Probe, look
from core.db.availability import Condition
from core.heartbeats import FRESH, Heartbeat
from core.supervised import STAYING
from mail.models import SiteFault
from tests.rig.faults import FullDisk, full, small_disk
from tests.rig.mail_process import is_soon
from tests.rig.read_only import read_only

pytestmark = pytest.mark.django_db

MAIL = Heartbeat.Kind.MAIL


def ready(client: Client | None = None, **extra: Any) -> tuple[int, dict[str, str]]:
    answer = (client or Client()).get("/health/ready", **extra)
    return answer.status_code, answer.json()


def fields(**given: str) -> dict[str, str]:
    found = {"status": "ok", "web": "ok", "database": "ok", "mail": "unused", "queue": "unused"}
    return found | given


@pytest.mark.parametrize("method", ["get", "head"])
@pytest.mark.parametrize(
    ("path", "body"),
    [("/health", b"success"), ("/health/live", b'{"status": "ok"}'), ("/health/ready", b'{"status": "ok"')],
)
def test_all_is_well(client: Client, method: str, path: str, body: bytes) -> None:
    answer = getattr(client, method)(path)

    assert answer.status_code == 200
    assert answer.content.startswith(body if method == "get" else b"")
    assert "no-store" in answer["Cache-Control"]
    assert not answer.cookies


def test_they_are_for_reading_alone(client: Client) -> None:
    assert {client.post(f"/health{rest}").status_code for rest in ("", "/live", "/ready")} == {405}


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready"])
def test_a_probe_speaks_http_to_any_host_without_a_redirect(settings: Settings, path: str) -> None:
    settings.SECURE_SSL_REDIRECT = True
    settings.ALLOWED_HOSTS = ["mail.example.com"]

    assert Client().get(path, HTTP_HOST="10.0.0.7:8000").status_code == 200
    assert Client().get("/", HTTP_HOST="10.0.0.7:8000").status_code == 400


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_without_the_database_the_server_is_not_ready_and_lives(
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: type[Exception],
) -> None:
    def away(*args: object) -> None:
        raise error("secret words")

    monkeypatch.setattr("core.heartbeats.HeartbeatQuerySet.leave", away)

    assert ready(client) == (
        503,
        fields(status="unavailable", database="away", mail="unknown", queue="unknown"),
    )
    answer = client.get("/health")
    assert (answer.status_code, answer.content) == (503, b"no database")
    assert client.get("/health/live").status_code == 200
    # A monitor asks every few seconds.
    assert not caplog.records


def test_a_database_that_takes_no_changes_is_not_ready() -> None:
    with read_only():
        status, found = ready()

    assert (status, found["database"]) == (503, "read-only")
    assert ready()[0] == 200


@pytest.mark.sqlite
def test_an_sqlite_database_on_a_full_disk_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        with small_disk(4) as disk:
            monkeypatch.setattr(connection, "is_in_memory_db", lambda: False, raising=False)
            monkeypatch.setitem(connection.settings_dict, "NAME", str(disk / "db.sqlite3"))
            with full(disk):
                while_full = ready()
            after = ready(Client())
    except FullDisk as reason:
        pytest.skip(str(reason))

    assert while_full == (503, fields(status="unavailable", database="full", mail="unknown", queue="unknown"))
    assert after[0] == 200


def test_a_server_that_is_about_to_stop_is_not_ready_for_anybody(
    client: Client, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """The supervisor says so by closing its end of a pipe, which happens too when it is killed."""
    theirs, ours = os.pipe()
    monkeypatch.setenv(STAYING, str(theirs))
    try:
        assert ready(client) == (200, fields())
        os.close(ours)

        # The database is not asked.
        with django_assert_num_queries(0):
            assert ready(client) == (503, {"status": "stopping"})
            in_words, live = client.get("/health"), client.get("/health/live")
    finally:
        os.close(theirs)

    assert (in_words.status_code, in_words.content) == (503, b"stopping")
    assert live.status_code == 200


@pytest.mark.parametrize("text", ["", "none", "-1"])
def test_a_server_without_a_supervisor_is_not_about_to_stop(
    client: Client, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv(STAYING, text)

    assert ready(client) == (200, fields())


def test_a_mail_process_is_alive_while_its_last_sign_is_young() -> None:
    Heartbeat.objects.leave(MAIL, "one:1")
    young = look()
    Heartbeat.objects.update(seen_at=timezone.now() - FRESH - timedelta(seconds=1))
    old = look()
    Heartbeat.objects.leave(MAIL, "other:2")
    one_of_two = look()
    Heartbeat.objects.end(MAIL, "other:2")
    Heartbeat.objects.end(MAIL, "one:1")

    assert [found.mail for found in (young, old, one_of_two, look())] == ["ok", "failing", "ok", "unused"]
    assert old.is_ready


def test_mail_waits_while_the_next_hop_refuses_it() -> None:
    Heartbeat.objects.leave(MAIL, "one:1")
    fault = SiteFault.objects.create(what="next hop: RCPT 530")
    SiteFault.objects.create(what="refusals: 5.7.1")
    refusing = look()
    SiteFault.objects.filter(pk=fault.pk).update(last=timezone.now() - timedelta(minutes=6))

    assert (refusing.queue, look().queue) == ("delayed", "ok")


@pytest.mark.parametrize(
    ("extra", "is_told"),
    [
        ({}, True),
        ({"REMOTE_ADDR": "::1"}, True),
        ({"REMOTE_ADDR": ""}, True),  # a UNIX socket
        ({"REMOTE_ADDR": "192.0.2.7"}, False),
        ({"REMOTE_ADDR": "10.0.0.9"}, True),
        # Through a proxy on this machine, whether or not it is trusted.
        ({"HTTP_X_FORWARDED_FOR": "127.0.0.1"}, False),
        ({"HTTP_X_FORWARDED_PROTO": "https"}, False),
    ],
)
def test_only_those_who_are_known_learn_what_is_wrong(
    settings: Settings, extra: dict[str, str], is_told: bool
) -> None:
    settings.HEALTH_CLIENTS = ["127.0.0.0/8", "::1/128", "unix", "10.0.0.0/24"]
    settings.TRUSTED_PROXIES = ["127.0.0.1/32"]

    status, found = ready(**extra)

    assert status == 200
    assert found == (fields() if is_told else {"status": "ok"})


def test_who_asks_often_costs_one_look(client: Client) -> None:
    client.get("/health/ready")

    with CaptureQueriesContext(connection) as queries:
        for path in ("/health", "/health/ready", "/health/live") * 20:
            client.get(path)

    assert not queries.captured_queries


@pytest.fixture
def hanging() -> Iterator[tuple[Probe, threading.Event, list[Health]]]:
    """A probe whose first look has found all well, and whose second one hangs in a thread until the event."""
    is_hanging, go_on, looks = threading.Event(), threading.Event(), list[Health]()

    def hang() -> Health:
        if looks:
            is_hanging.set()
            go_on.wait(60)
        looks.append(Health(Condition.OK))
        return looks[-1]

    probe = Probe(hang)
    probe()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(health, "KEPT", timedelta())
        first = threading.Thread(target=probe)
        first.start()
        assert is_hanging.wait(60)
        yield probe, go_on, looks
        go_on.set()
        first.join(60)


def test_nobody_waits_for_a_look_that_hangs_and_soon_the_database_counts_as_away(
    hanging: tuple[Probe, threading.Event, list[Health]], monkeypatch: pytest.MonkeyPatch
) -> None:
    probe, go_on, looks = hanging
    monkeypatch.setattr(health, "PATIENCE", timedelta(minutes=1))
    at_once = probe()
    # As if that minute was over.
    monkeypatch.setattr(health, "PATIENCE", timedelta())
    later = probe()

    assert (at_once.database, later.database) == (Condition.OK, Condition.AWAY)
    # Neither has waited for it.
    assert len(looks) == 1
    go_on.set()
    monkeypatch.setattr(health, "PATIENCE", timedelta(minutes=1))
    assert is_soon(lambda: probe().database is Condition.OK and len(looks) > 1)


def test_processes_that_ended_long_ago_are_forgotten() -> None:
    from django.core.management import call_command

    Heartbeat.objects.leave(MAIL, "gone:1")
    Heartbeat.objects.update(seen_at=timezone.now() - timedelta(days=2))
    Heartbeat.objects.leave(MAIL, "here:2")

    call_command("prune_counters")

    assert [beat.name for beat in Heartbeat.objects.all()] == ["here:2"]


def test_the_database_directory_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "is_in_memory_db", lambda: False, raising=False)
    monkeypatch.setattr(connection, "vendor", "sqlite", raising=False)
    monkeypatch.setitem(connection.settings_dict, "NAME", str(tmp_path / "away" / "db.sqlite3"))

    assert health.has_room()
