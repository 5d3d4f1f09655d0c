"""With LOCAL_PASSWORDS off, no password of this site signs anybody in, and a global admin still gets in."""

import time

import pytest
import time_machine
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.core import mail
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django import Settings
from rest_framework.test import APIClient

from accounts.models import Identity, User
from accounts.organisation.emergency import emergency_link
from accounts.organisation.sources import OpenIdProvider
from accounts.password_links import password_link
from core.audit import AuditEntry
from tests.conftest import Api
from tests.rig.pages import text_of
from tests.rig.signing_in import signed_in
from tests.rig.takeover import is_in

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _off(settings: Settings) -> None:
    settings.LOCAL_PASSWORDS = False
    settings.SIGNUP_OPEN = True
    settings.OIDC_PROVIDERS = (
        OpenIdProvider(key="acme", name="Acme", issuer="https://id.test", client_id="anonmail"),
    )


def test_the_page_has_the_providers_alone(client: Client) -> None:
    page = client.get("/accounts/login/?next=/tokens/")

    assert 'name="password"' not in page.content.decode()
    assert "passkey" not in page.content.decode()
    assert "Sign in with Acme" in text_of(page)
    assert '<input type="hidden" name="next" value="/tokens/"' in page.content.decode()
    assert "Create an account" not in text_of(page)


def test_a_password_signs_nobody_in(alice: User, client: Client) -> None:
    answer = client.post("/accounts/login/", {"login": alice.email, "password": "alice-password-1"})

    assert answer.status_code == 403
    assert "Signing in with a password is off here." in text_of(answer)
    assert not is_in(client)


def test_there_are_no_pages_about_passwords(alice: User, client: Client) -> None:
    member = signed_in(alice)
    link = password_link(alice).removeprefix("http://localhost:8000")

    public = ["/accounts/signup/", "/accounts/password/reset/", link, "/accounts/2fa/webauthn/login/"]
    own = ["/accounts/password/change/", "/accounts/password/set/"]

    assert [client.get(path).status_code for path in public] == [404] * 4
    assert [client.post(path, {"email": alice.email}).status_code for path in public] == [404] * 4
    assert [member.get(path).status_code for path in own] == [404] * 2
    assert [member.post(path).status_code for path in own] == [404] * 2
    assert "Password" not in text_of(member.get("/account/"))
    assert "Change password" not in text_of(member.get("/accounts/sessions/"))
    assert mail.outbox == []


def test_apps_are_refused_in_their_words(alice: User) -> None:
    api = APIClient()
    password = "alice-password-1"

    simplelogin = api.post(
        "/api/auth/login", {"email": alice.email, "password": password, "device": "x"}, format="json"
    )
    addy = api.post(
        "/api/auth/login", {"username": alice.email, "password": password, "device_name": "x"}, format="json"
    )
    register = api.post("/api/auth/register", {"email": "x@home.test", "password": "x" * 12}, format="json")
    forgot = api.post("/api/auth/forgot_password", {"email": alice.email}, format="json")

    assert (simplelogin.status_code, addy.status_code) == (403, 403)
    assert simplelogin.json()["error"].startswith("Signing in with a password is off here.")
    assert addy.json()["message"].startswith("Signing in with a password is off here.")
    assert register.json() == {"error": "Only an admin can create accounts on this server."}
    assert forgot.json()["error"].startswith("Nobody has a password here.")
    assert mail.outbox == []


def test_a_token_works_on(alice: User, api: Api) -> None:
    assert api(alice).get("/api/user_info").status_code == 200


def test_a_password_confirms_nothing(alice: User) -> None:
    Identity.objects.create(user=alice, issuer="https://id.test", subject="alice")
    member = signed_in(alice)
    with time_machine.travel(time.time() + 3600):
        member.post("/accounts/reauthenticate/", {"password": "alice-password-1"})
        page = member.get("/tokens/new/")

    assert page["Location"].startswith("/accounts/with/acme/confirm/")


def test_new_people_get_no_link_for_a_password(root: User, capsys: pytest.CaptureFixture[str]) -> None:
    boss = signed_in(root)
    boss.post("/admin/accounts/user/add/", {"email": "new@example.com", "name": "New"})
    actions = boss.get("/admin/accounts/user/").content.decode()
    call_command("create_user", "other@example.com")

    assert User.objects.filter(email__in=["new@example.com", "other@example.com"]).count() == 2
    assert mail.outbox == []
    assert "send_link" not in actions
    assert "/password/reset/" not in capsys.readouterr().out


# --- The link for an emergency ----------------------------------------------------------------------


def path_of(link: str) -> str:
    return link.strip().splitlines()[-1].removeprefix("http://localhost:8000")


def test_a_command_signs_a_global_admin_in_once(
    root: User, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("sign_in_link", root.email)
    path = path_of(capsys.readouterr().out)

    shown = client.get(path)
    looked_only = is_in(client)
    client.post(path)
    again = Client().post(path)

    assert root.email in text_of(shown)
    assert not looked_only
    assert is_in(client)
    assert again.status_code == 403
    assert "This link no longer works." in text_of(again)
    assert list(AuditEntry.objects.order_by("pk").values_list("action", flat=True)) == [
        "command.sign_in_link",
        "emergency.sign_in",
    ]


def test_the_second_factor_is_asked_for_all_the_same(root: User, client: Client) -> None:
    TOTP.activate(root, generate_totp_secret())

    answer = client.post(path_of(emergency_link(root)))

    assert answer["Location"].startswith("/accounts/2fa/authenticate/")
    assert not is_in(client)


def test_the_link_is_over_after_a_quarter_of_an_hour(root: User, client: Client) -> None:
    path = path_of(emergency_link(root))

    with time_machine.travel(time.time() + 16 * 60):
        answer = client.post(path)

    assert answer.status_code == 403


def test_nobody_makes_such_a_link_for_others(root: User, alice: User, client: Client) -> None:
    path = path_of(emergency_link(root))
    anothers = path.replace(f"/{root.pk}:", f"/{alice.pk}:")
    for tried in (
        anothers,
        path[:-2] + "x/",
        "/accounts/emergency/x/",
        f"/accounts/emergency/{'9' * 40}:x:y/",
    ):
        assert client.post(tried).status_code == 403
    assert client.post(path_of(emergency_link(alice))).status_code == 403
    for email in (alice.email, "nobody@example.com"):
        with pytest.raises(CommandError):
            call_command("sign_in_link", email)
    assert not is_in(client)


def test_a_deactivated_or_demoted_admins_link_is_over(root: User, client: Client) -> None:
    path = path_of(emergency_link(root))
    User.objects.filter(pk=root.pk).update(is_superuser=False)
    demoted = client.post(path)
    User.objects.filter(pk=root.pk).update(is_superuser=True, is_active=False)
    deactivated = client.post(path)

    assert (demoted.status_code, deactivated.status_code) == (403, 403)
