"""Installing the site as an app, and sharing a page with it."""

import json
from urllib.parse import urlencode

import pytest
from django.contrib.staticfiles import finders
from django.test import Client

from accounts.models import User
from aliases.models import Alias

pytestmark = pytest.mark.django_db


def test_the_manifest_names_icons_and_pages_that_there_are(client: Client) -> None:
    answer = client.get("/manifest.webmanifest", headers={"Accept-Language": "de"})
    content = json.loads(answer.content)

    assert answer["Content-Type"] == "application/manifest+json"
    assert {icon["sizes"] for icon in content["icons"]} == {"any", "192x192", "512x512"}
    for icon in content["icons"]:
        assert finders.find(icon["src"].removeprefix("/static/"))
    for url in (content["start_url"], content["shortcuts"][0]["url"], content["share_target"]["action"]):
        assert client.get(url)["Location"].startswith("/accounts/login/")
    assert content["shortcuts"][0]["name"] == "Neuer Alias"


@pytest.mark.parametrize(
    ("shared", "host"),
    [
        ({"url": "https://user:pw@www.shop.test:8443/cart?id=4711"}, "www.shop.test"),
        # Android's browsers have no other field.
        ({"text": "https://shop.test/cart"}, "shop.test"),
        ({"text": "Look at these shoes: https://shop.test/cart (new)"}, "shop.test"),
        ({"url": "", "text": "no page"}, ""),
        ({"url": "javascript:alert(1)"}, ""),
        ({"url": "x" * 10_000}, ""),
        ({"url": '"><script>alert(1)</script>'}, ""),
        ({"text": "http://bücher.test/"}, "bücher.test"),
    ],
)
def test_a_shared_page_opens_a_new_alias_with_its_host(
    browser: Client, shared: dict[str, str], host: str
) -> None:
    answer = browser.get("/aliases/new/?" + urlencode(shared))

    assert answer.context["form"]["hostname"].value() == host
    assert "<script>alert" not in answer.content.decode()
    assert not Alias.objects.exists()


def test_what_was_shared_survives_the_sign_in(alice: User, client: Client) -> None:
    asked = client.get("/aliases/new/?url=https://shop.test/cart")
    answer = client.post(
        asked["Location"], {"login": alice.email, "password": "alice-password-1"}, follow=True
    )

    assert answer.context["form"]["hostname"].value() == "shop.test"
