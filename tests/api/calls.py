"""Where the tests' calls go, and a call as a client sends it."""

from typing import Any

from django.test import Client

CREATE = "/api/alias/random/new"
LIST = "/api/v2/aliases?page_id=0"
# The beginning of addy.io's paths.
V1 = "/api/v1"


def post(key: str, path: str = CREATE, body: bytes = b"", content_type: str = "", **extra: Any) -> Any:
    """The answer to these octets, sent with this key."""
    headers = {"Authentication": key, **extra.pop("headers", {})}
    client = Client(raise_request_exception=False)
    # PATH_INFO: the test client would take what follows two slashes for a host
    extra.setdefault("PATH_INFO", path.partition("?")[0])
    return client.generic("POST", path, body, content_type=content_type, headers=headers, **extra)
