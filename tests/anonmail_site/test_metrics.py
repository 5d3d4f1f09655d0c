"""`/metrics`, as Prometheus reads it; and that dashboard and alert rules ask for what is there."""

import json
import re
import shutil
import smtplib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import call_command
from django.db import OperationalError
from django.test import Client, RequestFactory
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_prometheus
from pytest_django import Settings
from rest_framework.test import APIClient

from accounts.models import User
from aliases.issuing import issue
from anonmail_site import metrics
from anonmail_site.wsgi import application
from core import tallies
from core.tallies import Sums
from hooks.messages import write_test
from hooks.models import Stopped
from mail.delivery.blocks import blocks
from mail.delivery.next_hop import Refused
from mail.models import PausedDestination, SiteFault
from tests.conftest import Api
from tests.rig.hooking import make
from tests.rig.mail_doors import Hop, running_doors

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "docs" / "monitoring"
TOKEN = "t" * 40
ADMITTED = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(autouse=True)
def _counts(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.METRICS_TOKEN = TOKEN
    monkeypatch.setattr(tallies, "start", lambda write: None)
    monkeypatch.setattr(tallies, "_sums", Sums())


def read(client: Client) -> dict[str, Family]:
    """The metrics by name, after all that was counted has been written."""
    tallies._sums.write()
    answer = client.get("/metrics", headers=ADMITTED | {"Accept": "application/openmetrics-text"})
    assert answer.status_code == 200
    return {family.name: family for family in parse_openmetrics(answer.content.decode())}


def values(family: Family) -> dict[tuple[str, ...], float]:
    """A counter's or a gauge's values by those of its labels, sorted by name; of a histogram, how often."""
    return {
        tuple(sample.labels.values()): sample.value
        for sample in family.samples
        if sample.name in {family.name, f"{family.name}_total", f"{family.name}_count"}
    }


@pytest.mark.django_db
@pytest.mark.parametrize(
    "given", ["", TOKEN, "Bearer", "Bearer ", f"Bearer {TOKEN[1:]}", f"Bearer {TOKEN}x", "Bearer é"]
)
def test_strangers_get_nothing(client: Client, given: str) -> None:
    answer = client.get("/metrics", headers={"Authorization": given} if given else {})

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.content == b"unauthorized"


@pytest.mark.django_db
def test_an_admin_who_is_signed_in_gets_nothing_either(boss: Client) -> None:
    assert boss.get("/metrics").status_code == 401


@pytest.mark.django_db
def test_without_a_token_there_is_no_such_page(client: Client, settings: Settings) -> None:
    settings.METRICS_TOKEN = ""

    assert {
        client.get("/metrics", headers={"Authorization": given}).status_code for given in ("", "Bearer ")
    } == {404}


@pytest.mark.django_db
def test_nothing_is_written_or_redirected(client: Client, settings: Settings) -> None:
    settings.SECURE_SSL_REDIRECT = True

    answer = client.get("/metrics", headers=ADMITTED)

    assert answer.status_code == 200
    assert client.post("/metrics", headers=ADMITTED).status_code == 405
    assert "no-store" in answer.headers["Cache-Control"]
    assert not answer.cookies


@pytest.mark.django_db
def test_who_asks_for_no_openmetrics_gets_the_older_format(client: Client) -> None:
    answer = client.get("/metrics", headers=ADMITTED)

    assert answer.headers["Content-Type"].startswith("text/plain")
    assert "anonmail_users" in {family.name for family in parse_prometheus(answer.content.decode())}


@pytest.mark.django_db
def test_without_the_database_it_says_so(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> Iterator[Any]:
        raise OperationalError("away")

    monkeypatch.setattr(metrics, "_kept", away)

    answer = client.get("/metrics", headers=ADMITTED)

    assert (answer.status_code, answer.content) == (503, b"no database")


@pytest.mark.django_db
def test_creations_and_refusals_are_counted(client: Client, alice: User, mallory: User, api: Api) -> None:
    api(alice).post("/api/alias/random/new")
    issue(owner=alice)
    api(mallory).post("/api/alias/random/new")
    api(mallory).get("/api/aliases/1")
    APIClient().get("/api/user_info")
    APIClient(HTTP_AUTHENTICATION="wrong").get("/api/user_info")

    found = read(client)

    assert values(found["anonmail_aliases_created"]) == {("app",): 1, ("person",): 1}
    assert values(found["anonmail_api_refusals"]) == {
        ("no_usable_domain",): 1,
        ("not_found",): 1,
        ("not_authenticated",): 1,
        ("authentication_failed",): 1,
    }


def test_imported_aliases_are_counted_if_they_were_made(
    client: Client, alice: User, tmp_path: Path, transactional_db: None
) -> None:
    file = tmp_path / "aliases.csv"
    file.write_text("alias,note\none@example.com,\ntwo@example.com,\n")

    call_command("import_aliases", str(file), "--format", "simplelogin", "--user", alice.email, "--yes")

    assert values(read(client)["anonmail_aliases_created"]) == {("import",): 2}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/favicon.ico", ("icon", "GET", "301")),
        ("GET", "/nowhere/alice@example.com", ("none", "GET", "404")),
        ("POST", "/api/alias/random/new", ("api-alias-random", "POST", "401")),
        ("BREW", "/favicon.ico", ("icon", "other", "403")),
        ("GET", "/admin/", ("admin:index", "GET", "302")),
    ],
)
def test_requests_are_timed_by_page_and_not_by_path(
    client: Client, method: str, path: str, expected: tuple[str, str, str]
) -> None:
    environ = RequestFactory().generic(method, path, HTTP_HOST="localhost").environ

    list(application(environ, lambda status, headers: None))

    family = read(client)["anonmail_http_request_seconds"]
    assert {
        tuple(sample.labels.get(name) for name in ("route", "method", "status")) for sample in family.samples
    } == {expected}
    counts = [sample.value for sample in family.samples if sample.name.endswith("_bucket")]
    assert counts == sorted(counts)
    assert counts[-1] == 1


@pytest.mark.django_db(transaction=True)
def test_messages_and_recipients_are_counted(
    client: Client, alice: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    used, disabled, refused = (issue(owner=alice) for _ in range(3))
    disabled.disable()
    hop = Hop()

    with running_doors(hop, "smtp") as places, smtplib.SMTP(*places["smtp"]) as program:
        program.sendmail("bob@sender.test", [used.address], b"Subject: one\r\n\r\n")
        hop.answers[alice.email] = Refused("5.1.1")
        with pytest.raises(smtplib.SMTPDataError):
            program.sendmail("bob@sender.test", [refused.address], b"Subject: two\r\n\r\n")
        for address in (disabled.address, "nobody@example.com", "nobody@elsewhere.test"):
            with pytest.raises(smtplib.SMTPRecipientsRefused):
                program.sendmail("bob@sender.test", [address], b"")
        blocks.write()
    found = read(client)

    assert values(found["anonmail_messages"]) == {("forward",): 1, ("bounce",): 1, ("block",): 1}
    assert values(found["anonmail_recipient_seconds"]) == {
        ("forward",): 2,
        ("blocked",): 1,
        ("unknown",): 1,
        ("not ours",): 1,
    }
    assert values(found["anonmail_message_seconds"]) == {("done", "forward"): 1, ("refused", "forward"): 1}
    everything = client.get("/metrics", headers=ADMITTED).content.decode()
    private = ["@", "alice", "bob", "example", "sender", used.address.partition("@")[0]]
    assert not [word for word in private if word in everything]


@pytest.mark.django_db
def test_what_needs_attention_is_shown(client: Client, alice: User) -> None:
    PausedDestination.objects.create(destination=alice.emailaddress_set.get())
    SiteFault.objects.create(what="next hop: RCPT 530")
    hooks = [make(owner).hook for owner in (alice, alice, None)]
    hooks[0].stop(Stopped.FAILED)
    hooks[1].stop(Stopped.OWNER)
    write_test(hooks[2])
    call_command("housekeeping")

    found = read(client)

    assert {name: values(found[f"anonmail_{name}"])[()] for name in ("users", "domains", "mail_faults")} == {
        "users": 1,
        "domains": 1,
        "mail_faults": 1,
    }
    assert values(found["anonmail_destinations_paused"]) == {(): 1}
    assert values(found["anonmail_deliveries_underway"]) == {(): 0}
    assert values(found["anonmail_hook_messages_waiting"]) == {(): 1}
    assert values(found["anonmail_hooks_stopped"]) == {(): 1}
    assert values(found["anonmail_housekeeping_success_timestamp_seconds"])[()] > 1_700_000_000


def asked_for() -> dict[str, str]:
    """Every expression of the dashboard and of the alert rules, by where it is."""
    panels = json.loads((MONITORING / "grafana.json").read_text())["panels"]
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
    return {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in panels
        for target in panel["targets"]
    } | {rule["alert"]: rule["expr"] for rule in rules}


@pytest.mark.django_db
def test_dashboard_rules_and_page_name_metrics_and_labels_that_exist(client: Client) -> None:
    found = read(client)
    exist = {name for family in found.values() for name in _samples_of(family)}
    documented = set(re.findall(r"anonmail_\w+", (ROOT / "docs" / "monitoring.md").read_text()))
    labels = {"le", "job"} | {label for metric in tallies.Metric.known.values() for label in metric.labels}

    for where, expression in asked_for().items():
        assert set(re.findall(r"anonmail_\w+", expression)) <= exist, where
        named = re.findall(r"(\w+)(?:=~|=|!=|!~)\"", expression)
        grouped = ", ".join(re.findall(r"by \(([^)]+)\)", expression))
        assert {*named, *filter(None, grouped.split(", "))} <= labels, where
    # By their name with or without an ending.
    assert {name for name in documented if name not in exist | set(found)} == set()
    assert {name for name in found if not any(each.startswith(name) for each in documented)} == set()


def _samples_of(family: Family) -> list[str]:
    endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
    return [family.name + ending for ending in endings]


def test_promtool_finds_no_fault_in_the_alert_rules() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is missing (Debian: apt install prometheus)")

    done = subprocess.run(
        [promtool, "check", "rules", str(MONITORING / "alerts.yml")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "11 rules found" in done.stdout


@pytest.mark.django_db(transaction=True)
def test_promtool_finds_no_fault_in_the_metrics(client: Client, alice: User) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is missing (Debian: apt install prometheus)")
    issue(owner=alice)
    tallies._sums.write()
    page = client.get("/metrics", headers=ADMITTED).content

    done = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, check=False)

    assert done.returncode == 0, (done.stdout, done.stderr)
