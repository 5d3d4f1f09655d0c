"""What load balancers and monitors ask."""

from unittest.mock import patch

import pytest
from django.db import Error, InterfaceError, OperationalError, connection
from django.test import Client

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("method", ["get", "head"])
def test_all_is_well(client: Client, method: str) -> None:
    answer = getattr(client, method)("/health")

    assert answer.status_code == 200
    assert answer.content == (b"success" if method == "get" else b"")
    assert "no-store" in answer["Cache-Control"]
    assert not answer.cookies


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_without_the_database_nothing_is_well(client: Client, error: type[Error]) -> None:
    with patch.object(connection, "cursor", side_effect=error("secret words")):
        answer = client.get("/health")

    assert (answer.status_code, answer.content) == (503, b"no database")


def test_it_is_for_reading_alone(client: Client) -> None:
    assert client.post("/health").status_code == 405


def test_a_browser_finds_the_icon_where_no_page_names_one(client: Client) -> None:
    answer = client.get("/favicon.ico")

    assert answer.status_code == 301
    assert answer["Location"] == "/static/icon.svg"
