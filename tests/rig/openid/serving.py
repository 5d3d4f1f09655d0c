"""A real OpenID Connect provider (npm's oidc-provider) for tests, and a walk through it."""

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from django.http import HttpResponse
from django.test import Client

from accounts.organisation.sources import OpenIdProvider
from tests.rig.ports import free_port

HERE = Path(__file__).parent
DIRECTORY = Path(sys.prefix) / "clients" / "openid"
SECRET = "the-secret-of-a-client-0123456789"
Claims = dict[str, Any]


def is_installed() -> bool:
    """Whether `make test` has installed the provider, and there is Node."""
    return shutil.which("node") is not None and (DIRECTORY / "node_modules" / "oidc-provider").is_dir()


class Provider:
    """A running provider. `people`: the claims of each login."""

    def __init__(self, port: int) -> None:
        self.issuer = f"http://127.0.0.1:{port}"

    def knows(self, **people: Claims) -> None:
        """Replace who can sign in."""
        requests.put(f"{self.issuer}/people", data=json.dumps(people), timeout=10).raise_for_status()

    def settings(self, key: str = "acme", **beliefs: Any) -> OpenIdProvider:
        """What an installation that trusts this provider has in its settings."""
        known: dict[str, Any] = {
            "name": key.capitalize(),
            "client_id": key,
            "client_secret": SECRET,
            "scopes": ("openid", "email", "profile", "groups"),
            "new_people": ("example.com",),
        }
        return OpenIdProvider(key=key, issuer=self.issuer, **(known | beliefs))


@contextlib.contextmanager
def serving(site: str, *keys: str) -> Iterator[Provider]:
    """A provider with a client for each key, whose users come back to `site`."""
    port = free_port()
    clients = [
        {
            "client_id": key,
            "client_secret": SECRET,
            "redirect_uris": [f"{site}/accounts/with/{key}/back/"],
        }
        for key in keys
    ]
    command = ["node", str(HERE / "provider.mjs"), str(DIRECTORY)]
    command.append(json.dumps({"port": port, "clients": clients}))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        while (line := process.stdout.readline()) and "is ready" not in line:
            pass
        assert line, "the provider does not start"
        yield Provider(port)
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def begin(client: Client, path: str = "/accounts/with/acme/", **fields: str) -> str:
    """Press the button; returns the URL at the provider."""
    answer = client.post(path, fields)
    assert answer.status_code == 200, answer.content.decode()
    url: str = answer.context["url"]
    return url


def at_provider(url: str, login: str, session: requests.Session | None = None) -> str:
    """Sign in there (an unknown login: cancel); returns where the provider sends the browser then."""
    with session or requests.Session() as visitor:
        answer = visitor.get(url, timeout=10)
        if "/interaction/" in answer.url:
            answer = visitor.post(answer.url, data={"login": login}, allow_redirects=False, timeout=10)
        while answer.is_redirect:
            url = answer.headers["Location"]
            if "/back/" in url:
                return url
            answer = visitor.get(url, allow_redirects=False, timeout=10)
    raise AssertionError(f"the provider answered {answer.status_code}: {answer.text[:500]}")


def come_back(client: Client, url: str) -> HttpResponse:
    """Follow the provider's redirect."""
    parts = urlsplit(url)
    answer: HttpResponse = client.get(f"{parts.path}?{parts.query}")  # type: ignore[assignment]
    return answer


def walk(client: Client, login: str, path: str = "/accounts/with/acme/", **fields: str) -> HttpResponse:
    """The whole way: the button, the provider, and back."""
    return come_back(client, at_provider(begin(client, path, **fields), login))
