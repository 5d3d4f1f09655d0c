"""Every page and mail of allauth that can be reached is in this site's words, in English and German."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import allauth
import pytest
from allauth.account.models import EmailAddress
from django.conf import settings
from django.core import mail
from django.test import Client, signals
from django.urls import get_resolver, resolve
from django.urls.resolvers import URLPattern, URLResolver
from pytest_django import Settings

from accounts.models import User
from tests.anonmail_site.test_translation import ENTRIES, SENTENCE_MIN, read, read_po, untranslated_pattern
from tests.e2e.scenes import SCENES
from tests.e2e.stage import set_stage
from tests.rig.signing_in import give_passkey, half_signed_in, signed_in, totp_code

pytestmark = pytest.mark.django_db

PACKAGE = Path(allauth.__file__).parent
OURS = Path(settings.BASE_DIR) / "templates"
LANGUAGES = ["en", "de"]
# What of allauth's URLs is no page: a redirect, an answer for scripts, a file, and a page that nobody gets
# while signing in by code is off.
NO_PAGES = {
    "account_email",
    "mfa_login_webauthn",
    "mfa_download_recovery_codes",
    "account_confirm_login_code",
}


def names_of(patterns: list[URLPattern | URLResolver]) -> Iterator[str]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from names_of(pattern.url_patterns)
        elif pattern.name:
            yield pattern.name


def allauths_sentences() -> re.Pattern[str]:
    """Any sentence of allauth's, in English or German, that is not one of ours too."""
    our_own = {text for entry in ENTRIES for text in (entry.message, entry.plural, *entry.translations)}
    sentences = set()
    for entry in read_po(PACKAGE / "locale" / "de" / "LC_MESSAGES" / "django.po"):
        for message in (entry.message, entry.plural, *entry.translations):
            text = " ".join(message.split())
            if message not in our_own and text.count(" ") > 1 and len(text) > SENTENCE_MIN:
                sentences.add(".{1,200}?".join(map(re.escape, re.split(r"%\(\w+\)s", text))))
    return re.compile("|".join(sorted(sentences)))


class Witness:
    """Collects which templates are rendered, and what is wrong with what people read."""

    def __init__(self, language: str) -> None:
        self.headers = {"Accept-Language": language}
        self.language = language
        self.theirs = allauths_sentences()
        self.english = untranslated_pattern()
        self.templates: set[str] = set()
        self.problems: list[str] = []

    def note(self, sender: object, template: object, **_rest: object) -> None:
        name, origin = str(template.name), Path(template.origin.name)  # type: ignore[attr-defined]
        self.templates.add(name)
        if origin.is_relative_to(PACKAGE):
            self.problems.append(f"allauth's own template: {name}")

    def judge(self, where: str, text: str) -> None:
        text = " ".join(text.split())
        for found in filter(None, [self.theirs.search(text)]):
            self.problems.append(f"{where}: allauth's own words: {found[0]}")
        if self.language == "de" and (found := self.english.search(text)):
            self.problems.append(f"{where}: not in German: {found[0]}")

    def get(self, client: Client, path: str) -> str:
        return self._read(path, client.get(path, follow=True).content.decode())

    def post(self, client: Client, path: str, **data: str) -> str:
        return self._read(f"after {path}", client.post(path, data, follow=True).content.decode())

    def _read(self, where: str, html: str) -> str:
        self.judge(where, " ".join(read(html).texts))
        return html


@pytest.fixture(params=LANGUAGES)
def witness(request: pytest.FixtureRequest) -> Iterator[Witness]:
    """Someone who reads everything in one language; at the end, nothing was wrong."""
    witness = Witness(request.param)
    signals.template_rendered.connect(witness.note)
    yield witness
    signals.template_rendered.disconnect(witness.note)
    for message in mail.outbox:
        witness.judge(f"mail “{message.subject}”", f"{message.subject} {message.body}")
    assert sorted(set(witness.problems)) == []


def test_every_page_of_allauth_is_a_scene() -> None:
    stage = set_stage()
    accounts = next(
        pattern
        for pattern in get_resolver().url_patterns
        if isinstance(pattern, URLResolver) and str(pattern.pattern) == "accounts/"
    )

    paths = {urlsplit(scene.path(stage)).path for scene in SCENES}
    shown = {resolve(path).url_name for path in paths if path.startswith("/accounts/")}

    assert set(names_of(accounts.url_patterns)) - NO_PAGES - shown == set()


def test_every_scene_is_in_our_own_words(witness: Witness) -> None:
    stage = set_stage()

    for scene in SCENES:
        path = scene.path(stage)
        if path.startswith("/accounts/"):
            witness.get(scene.client(stage, headers=witness.headers), path)


def test_what_goes_wrong_is_said_in_our_own_words(witness: Witness, alice: User) -> None:
    stranger, browser = Client(headers=witness.headers), signed_in(alice, headers=witness.headers)
    secret = browser.get("/accounts/2fa/totp/activate/").context["form"].secret

    witness.post(stranger, "/accounts/login/", login=alice.email, password="wrong")
    witness.post(stranger, "/accounts/password/reset/", email="no address")
    witness.post(stranger, "/accounts/password/reset/", email="stranger@elsewhere.test")
    witness.post(browser, "/accounts/reauthenticate/", password="wrong")
    witness.post(browser, "/accounts/2fa/totp/activate/", code="000000")
    change = {"oldpassword": "wrong", "password1": "one-password-1", "password2": "another-password-1"}
    witness.post(browser, "/accounts/password/change/", **change)
    witness.post(browser, "/addresses/", email=alice.email)
    witness.post(browser, "/accounts/2fa/totp/activate/", code=totp_code(secret))
    witness.post(half_signed_in(alice, "alice-password-1", headers=witness.headers), AUTHENTICATE, code="0")
    witness.post(browser, "/accounts/2fa/reauthenticate/", code="0")
    for _ in range(12):
        text = witness.post(
            Client(headers=witness.headers), "/accounts/login/", login="x@y.test", password="x"
        )

    assert {"en": "Too many attempts.", "de": "Zu viele Versuche."}[witness.language] in text
    # Nobody is invited who has no account.
    assert [message.to for message in mail.outbox if "stranger" in message.to[0]] == []


AUTHENTICATE = "/accounts/2fa/authenticate/"


@pytest.mark.django_db(transaction=True)
def test_all_mails_and_notices_are_in_our_own_words(
    witness: Witness, alice: User, settings: Settings
) -> None:
    settings.SIGNUP_OPEN = True
    browser, stranger = signed_in(alice, headers=witness.headers), Client(headers=witness.headers)
    secret = browser.get("/accounts/2fa/totp/activate/").context["form"].secret
    passkey = give_passkey(alice, "Phone")

    witness.post(browser, "/accounts/2fa/totp/activate/", code=totp_code(secret))
    witness.post(browser, "/accounts/2fa/recovery-codes/generate/")
    witness.post(browser, f"/accounts/2fa/webauthn/keys/{passkey.pk}/remove/")
    witness.post(browser, "/accounts/2fa/totp/deactivate/")
    witness.post(browser, "/accounts/sessions/")
    witness.post(browser, "/addresses/", email="alice@home.test")
    password = {"password1": "alice-password-2", "password2": "alice-password-2"}
    witness.post(browser, "/accounts/password/change/", oldpassword="alice-password-1", **password)
    witness.post(browser, "/accounts/logout/")

    new = {"password1": "bob-password-1", "password2": "bob-password-1"}
    witness.get(stranger, "/accounts/signup/")
    witness.post(stranger, "/accounts/signup/", email="bob@elsewhere.test", **new)
    link = re.search(r"/accounts/confirm-email/\S+", str(mail.outbox[-1].body))
    assert link
    witness.post(stranger, link[0])
    witness.post(stranger, "/accounts/login/", login="bob@elsewhere.test", password="bob-password-1")

    witness.post(Client(headers=witness.headers), "/accounts/password/reset/", email=alice.email)
    link = re.search(r"/accounts/password/reset/key/\S+", str(mail.outbox[-1].body))
    assert link
    reset = Client(headers=witness.headers)
    path = reset.get(link[0]).headers["Location"]
    witness.post(reset, path, password1="alice-password-3", password2="alice-password-3")

    alice.set_unusable_password()
    alice.save()
    witness.post(signed_in(alice, headers=witness.headers), "/accounts/password/set/", **password)

    ours = {str(path.relative_to(OURS)) for path in OURS.glob("*/email/*_message.txt")}
    ours |= {str(path.relative_to(OURS)) for path in OURS.glob("*/messages/*.txt")}
    made_by_a_real_passkey = {"mfa/email/webauthn_added_message.txt", "mfa/messages/webauthn_added.txt"}
    assert ours - witness.templates - made_by_a_real_passkey == {
        "account/messages/email_confirmation_failed.txt"
    }


def test_a_new_account_and_a_destination_get_different_words(alice: User) -> None:
    EmailAddress.objects.filter(user=alice).update(verified=False)

    Client().post("/accounts/login/", {"login": alice.email, "password": "alice-password-1"})
    signed_in(alice).post("/addresses/", {"email": "alice@home.test"})

    (to_account, to_destination) = [message for message in mail.outbox if "confirm-email" in message.body]
    assert "created an account for alice@example.com" in to_account.body
    assert "forwarded to alice@home.test" in to_destination.body
