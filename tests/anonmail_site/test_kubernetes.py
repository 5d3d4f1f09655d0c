"""The Kubernetes manifests: valid, and in agreement with the rest of the repository.

`kubernetes-validate` has the API's JSON schemas; strictly, a field that the API does not know is an error.
"""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from django.core.management import get_commands

from anonmail_site.supervisor import STOP_TIMEOUT

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "deploy" / "kubernetes"
KUSTOMIZATION = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())
# The API's versions: one that many clusters still have, and the newest that the package knows.
VERSIONS = ("1.32", "1.37")


def objects() -> list[dict[str, Any]]:
    return [
        each
        for name in KUSTOMIZATION["resources"]
        for each in yaml.safe_load_all((MANIFESTS / name).read_text())
    ]


def containers() -> list[dict[str, Any]]:
    found = []
    for each in objects():
        spec = each.get("spec", {})
        pod = spec.get("jobTemplate", {"spec": spec})["spec"].get("template", {}).get("spec", {})
        found += pod.get("initContainers", []) + pod.get("containers", [])
    return found


def named(one: dict[str, Any]) -> str:
    return f"{one['kind']} {one['metadata']['name']}"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("one", objects(), ids=named)
def test_each_object_is_valid(one: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(one, version, strict=True)


def test_every_file_is_listed() -> None:
    files = {path.name for path in MANIFESTS.glob("*.yaml")} - {"kustomization.yaml"}

    assert files == set(KUSTOMIZATION["resources"])


def test_every_setting_is_one_of_ours() -> None:
    known = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    used = {each["name"] for container in containers() for each in container.get("env", [])}
    for each in objects():
        if each["kind"] == "ConfigMap":
            used |= set(each["data"])

    assert used - known == set()


def test_every_argument_is_a_command() -> None:
    asked = {container["args"][0] for container in containers() if "args" in container}

    assert asked
    assert asked <= set(get_commands())


def test_no_container_can_become_more_than_it_is() -> None:
    for container in containers():
        confined = container["securityContext"]
        assert confined["readOnlyRootFilesystem"], container["name"]
        assert confined["capabilities"]["drop"] == ["ALL"], container["name"]
        # Postfix starts programs of another group (postdrop, postqueue).
        assert container["name"] == "postfix" or not confined["allowPrivilegeEscalation"], container["name"]


def test_a_web_pod_serves_until_nobody_asks_it_and_then_has_time_to_finish() -> None:
    (pod,) = [
        each["spec"]["template"]["spec"]
        for each in objects()
        if each["kind"] == "Deployment" and each["metadata"]["name"] == "web"
    ]
    (web,) = pod["containers"]
    (drain,) = [int(each["value"]) for each in web["env"] if each["name"] == "WEB_DRAIN_SECONDS"]

    assert web["args"] == ["serve", "web"]
    assert web["readinessProbe"]["periodSeconds"] * web["readinessProbe"]["failureThreshold"] < drain
    assert pod["terminationGracePeriodSeconds"] > drain + STOP_TIMEOUT
