"""The files for containers agree with the project, and with each other."""

import tomllib
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

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


def test_only_anonmails_own_containers_may_send_mail_out() -> None:
    _program, _directory, *may_send = SERVICES["postfix"]["entrypoint"]
    [network] = COMPOSE["networks"]["default"]["ipam"]["config"]

    assert may_send == [address(name) for name in ("web", "housekeeping", "mail")]
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
