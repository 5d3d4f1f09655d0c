"""What the tests of addy.io's API share."""

from typing import Any

from allauth.account.models import EmailAddress
from rest_framework.test import APIClient

from api.addy.ids import public_id
from tests.api.calls import V1

ALIASES = f"{V1}/aliases"
NOBODY = "50c9e585-e7f5-41c4-9016-9014c15454bc"


def recipient_id(address: EmailAddress) -> str:
    return str(public_id("recipient", address.pk))


def make(client: APIClient, **body: Any) -> Any:
    return client.post(ALIASES, {"domain": "example.com", **body}, format="json")
