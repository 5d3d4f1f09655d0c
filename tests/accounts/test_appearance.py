"""Theme and language: kept with the account, in cookies for strangers, and in the mails."""

import re

import pytest
from django.core import mail
from django.test import Client

from accounts.models import User
from accounts.password_links import send_password_link
from domains.models import Domain

pytestmark = pytest.mark.django_db

GERMAN = {"Accept-Language": "de"}


def start_of(client: Client, path: str, **headers: str) -> str:
    return client.get(path, headers=headers).content.decode()[:200]


def test_a_stranger_s_choice_is_kept_in_cookies(client: Client) -> None:
    answer = client.post("/appearance/", {"theme": "dark", "next": "/accounts/login/?next=/tokens/"})
    client.post("/appearance/", {"language": "de", "next": "/accounts/login/"})

    assert answer["Location"] == "/accounts/login/?next=/tokens/"
    assert 'lang="de" dir="ltr" data-theme="dark"' in start_of(client, "/accounts/login/")

    client.post("/appearance/", {"theme": "", "next": "/accounts/login/"})
    assert "data-theme" not in start_of(client, "/accounts/login/")


def test_the_account_s_choice_holds_in_every_browser(alice: User) -> None:
    for client in (here := Client(), there := Client()):
        client.force_login(alice)
    here.post("/appearance/", {"theme": "light", "language": "de"})

    there.cookies["theme"] = "dark"
    assert 'lang="de" dir="ltr" data-theme="light"' in start_of(there, "/aliases/")

    here.post("/accounts/logout/")
    assert 'lang="de" dir="ltr" data-theme="light"' in start_of(here, "/accounts/login/")


def test_the_first_sign_in_keeps_the_browser_s_language(alice: User, client: Client) -> None:
    words = {"login": alice.email, "password": "alice-password-1"}
    client.post("/accounts/login/", words, headers=GERMAN)
    alice.refresh_from_db()
    assert alice.language == "de"

    Client().post("/accounts/login/", words, headers={"Accept-Language": "en"})
    alice.refresh_from_db()
    assert alice.language == "de"


@pytest.mark.parametrize(
    "words",
    [
        {"theme": "mauve", "language": "tlh", "shortcuts": "maybe"},
        {"theme": "dark\r\nSet-Cookie: x=y", "language": "\x00"},
        {},
    ],
)
def test_what_is_no_choice_changes_nothing(alice: User, client: Client, words: dict[str, str]) -> None:
    client.force_login(alice)
    before = User.objects.values().get(pk=alice.pk)

    answer = client.post("/appearance/", words)

    assert (answer.status_code, answer.cookies.keys()) == (302, set())
    assert User.objects.values().get(pk=alice.pk) == before
    client.cookies["theme"] = "mauve"
    assert "data-theme" not in start_of(client, "/aliases/")


@pytest.mark.parametrize("place", ["https://evil.test/", "//evil.test/", "javascript:alert(1)", ""])
def test_the_way_back_stays_on_this_site(client: Client, place: str) -> None:
    assert client.post("/appearance/", {"theme": "dark", "next": place})["Location"] == "/"


def test_mails_are_in_their_reader_s_language(
    alice: User, mallory: User, root: User, example_com: Domain, django_capture_on_commit_callbacks: object
) -> None:
    User.objects.filter(pk__in=[alice.pk, mallory.pk]).update(language="de")
    for user in (alice, mallory):
        user.refresh_from_db()

    send_password_link(alice)
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        example_com.grant(mallory, granted_by=root)
    # allauth's own: asked for by somebody whose browser is English.
    Client().post("/accounts/password/reset/", {"email": alice.email})

    assert [message.to for message in mail.outbox] == [[alice.email], [mallory.email], [alice.email]]
    for message in mail.outbox:
        assert re.search(r"\b(dir|dein\w*)\b", str(message.body), re.IGNORECASE)
        assert not re.search(r"\byou", str(message.body), re.IGNORECASE)
