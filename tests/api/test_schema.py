"""The OpenAPI schema is valid, says all there is, and is true: schemathesis tries it at a live server."""

from typing import Any

import pytest
import schemathesis
from django.core.management import call_command
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, settings
from pytest_django.live_server_helper import LiveServer
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from api.schema import is_described
from tests.api.endpoints import views
from tokens.models import Token
from tokens.scopes import EVERYTHING

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 12
# The body may be refused by its size (413) and the database be away (503) without being asked for here.
document = SchemaGenerator().get_schema(request=None, public=True)
schema = schemathesis.openapi.from_dict(document)


def test_the_schema_is_valid_and_complains_of_nothing(tmp_path: Any) -> None:
    call_command("spectacular", validate=True, fail_on_warn=True, file=str(tmp_path / "schema.yml"))

    assert document["openapi"].startswith("3.")


def test_every_call_is_described_with_an_example_for_every_status() -> None:
    missing = [
        (name, method)
        for name, view in views().items()
        for method in set(view().allowed_methods) - {"OPTIONS"}
        if not is_described(view, method)
    ]
    unsaid = [
        (path, method)
        for path, methods in document["paths"].items()
        for method, call in methods.items()
        for content in call.get("requestBody", {}).get("content", {}).values()
        if not content.get("examples", {}).get("Request", {}).get("value")
    ]
    bare = [
        (path, method, status)
        for path, methods in document["paths"].items()
        for method, call in methods.items()
        for status, answer in call["responses"].items()
        if not any("examples" in content for content in answer.get("content", {}).values())
        and status != "204"
    ]

    assert missing == []
    assert unsaid == []
    assert bare == []


@pytest.mark.django_db
def test_schema_and_docs_are_there_for_everybody_without_another_server() -> None:
    page = Client().get("/api/docs/")
    text = page.content.decode()

    assert Client().get("/api/schema/").status_code == 200
    assert page.status_code == 200
    assert "https://" not in text.replace("https://www.w3.org", "")
    assert "unsafe-inline" not in page["Content-Security-Policy"].split("style-src")[0]
    assert "This page needs JavaScript." in text


@pytest.mark.parametrize("path", ["/api/docs", "/api/docs/", "/api/schema", "/api/schema/"])
@pytest.mark.django_db
def test_schema_and_docs_have_a_slash_at_the_end_or_none(client: Client, path: str) -> None:
    answer = client.get(path)

    assert answer.status_code == 200


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@pytest.mark.django_db(transaction=True)
def test_the_schema_is_true_with_a_key(case: Any, live_server: LiveServer, alice: User) -> None:
    alias = Alias.objects.owned_by(alice).present().first() or issue(owner=alice)
    _token, secret = Token.objects.issue(owner=alice, name="schemathesis", scopes=EVERYTHING)
    key = (case.path_parameters or {}).get("key")
    if isinstance(key, int) and key % 2:
        # A key that is there finds what a random one does not.
        case.path_parameters["key"] = alias.pk
    if "aliases/" in case.path and str((case.path_parameters or {}).get("uuid", ""))[-1:] in set("02468ace"):
        case.path_parameters["uuid"] = str(alias.uuid)
    answer = case.call(base_url=live_server.url, headers={"Authentication": secret})

    case.validate_response(answer, checks=CHECKS)


@schema.parametrize()
@settings(max_examples=4, derandomize=True, suppress_health_check=list(HealthCheck))
@pytest.mark.django_db(transaction=True)
def test_the_schema_is_true_without_a_key(case: Any, live_server: LiveServer) -> None:
    case.headers = {}
    answer = case.call(base_url=live_server.url)

    case.validate_response(answer, checks=CHECKS)
    # It also tries methods that a path has not.
    if "/auth/" not in case.path and case.method.lower() in document["paths"][case.path]:
        # What is no key is no path either.
        assert answer.status_code in ({401, 404} if case.path_parameters else {401})
