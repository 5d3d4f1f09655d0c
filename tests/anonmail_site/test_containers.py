"""The files for containers agree with the project, and with each other."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from io import StringIO
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import call_command, get_commands, load_command_class
from pytest_django import Settings

from anonmail_site.backup.database import DEBIAN_PROGRAMS

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]


def address(service: str) -> str | None:
    networks = SERVICES[service].get("networks", {})
    found = networks.get("default", {}).get("ipv4_address")
    return found if found is None else str(found)


def test_an_image_is_built_from_all_that_the_wheel_needs() -> None:
    """.dockerignore lets these in by name: a new package would be missing from the image."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]
    wheel = build["build"]["targets"]["wheel"]
    needed = {
        *wheel["packages"],
        *wheel["force-include"],
        *build["metadata"]["hooks"]["requirements_txt"]["files"],
    }

    lines = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = {line.removeprefix("!") for line in lines if line.startswith("!")}

    assert needed | {"pyproject.toml", "README.md", "container"} == let_in


def commands() -> list[list[str]]:
    """What runs as `anonmail …` in a container."""
    manifests = [
        document
        for path in sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
    ]
    texts = [
        each["command"] for each in SERVICES.values() if each.get("command") and "entrypoint" not in each
    ]
    return texts + [each["args"] for each in containers(manifests) if each["image"].startswith("anonmail")]


def containers(found: Any) -> Iterator[dict[str, Any]]:
    for each in found.values() if isinstance(found, dict) else found if isinstance(found, list) else ():
        yield from containers(each)
    if isinstance(found, dict) and "args" in found:
        yield found


@pytest.mark.parametrize("image", ["anonmail", "anonmail-postfix"])
def test_an_image_is_built_once_and_never_fetched_from_strangers(image: str) -> None:
    services = [service for service in SERVICES.values() if service["image"] == image]
    building = [service for service in services if "build" in service]

    assert len(building) == 1
    assert len(services) > 1
    assert all(service["pull_policy"] == "never" for service in services)


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_what_a_container_runs_is_a_command(command: list[str]) -> None:
    name, *arguments = command
    loaded = load_command_class(get_commands()[name], name)

    assert loaded.create_parser("anonmail", name).parse_args(arguments)


@pytest.mark.parametrize("has_certificate", [False, True])
def test_nothing_is_wrong_with_the_settings_that_the_page_gives(
    tmp_path: Path, has_certificate: bool
) -> None:
    """The certificate is the page's second step, which can be left out."""
    page = (ROOT / "docs" / "containers.md").read_text()
    first, second = re.findall(r"\n\n((?: {7}[A-Z_]+=.*\n)+)", page)
    assert "MAIL_TLS_KEY" in second
    text = first + (second if has_certificate else "")
    written = dict(line.strip().split("=", 1) for line in text.splitlines())
    given = SERVICES["mail"]["environment"]
    variables = {"PATH": os.environ["PATH"], "VAR_DIR": str(tmp_path), "SECRET_KEY": "x" * 50, "ENV_FILE": ""}
    given = {name: re.sub(r"\$\{.*\}", "secret", value) for name, value in given.items()}

    found = subprocess.run(
        [sys.executable, "manage.py", "check", "--tag", "anonmail"],
        cwd=ROOT,
        env=variables | written | given,
        capture_output=True,
        text=True,
    )

    assert found.returncode == 0, found.stderr


@pytest.mark.django_db
def test_postfix_is_configured_as_compose_wants_it(tmp_path: Path, settings: Settings) -> None:
    settings.MAIL_HOSTNAME = "mx.example.com"
    service = SERVICES["postfix-configuration"]
    settings.MAIL_POSTFIX_DIRECTORY = service["environment"]["MAIL_POSTFIX_DIRECTORY"]
    name, *arguments, directory = service["command"]
    assert directory == "--directory=var/postfix"

    call_command(name, *arguments, f"--directory={tmp_path}", stdout=StringIO())

    assert "0.0.0.0:10026" in (tmp_path / "master.cf").read_text()


def test_only_anonmails_own_containers_may_send_mail_out() -> None:
    _program, _directory, *may_send = SERVICES["postfix"]["entrypoint"]
    [network] = COMPOSE["networks"]["default"]["ipam"]["config"]

    assert may_send == [address(name) for name in ("web", "worker", "mail")]
    assert {address(name) for name in SERVICES} - {None} == set(may_send)
    # Other containers get an address from the range when they start, and clients can appear as the gateway.
    assert all(ip_address(one) not in ip_network(network["ip_range"]) for one in may_send)
    assert network["gateway"] not in may_send


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"postgres"}))
def test_a_container_of_ours_writes_only_to_its_volumes_and_has_no_needless_right(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert ("cap_add" in service) == (service.get("user") == "root") == (name == "postfix")


def test_the_image_can_dump_the_database_that_compose_runs() -> None:
    """pg_dump refuses a server that is newer than itself."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    [client] = set(re.findall(r"postgresql-client-(\d+)", dockerfile))
    server = SERVICES["postgres"]["image"].removeprefix("postgres:")

    assert int(client) >= int(server)
    for program in ("pg_dump", "pg_restore"):
        assert f"{DEBIAN_PROGRAMS}/{client}/bin/{program}" in dockerfile
    assert "./backups:/backups" in SERVICES["web"]["volumes"]
