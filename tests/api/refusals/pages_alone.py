"""Refused because it is done on the web page alone."""

from collections.abc import Callable
from typing import Any

from allauth.account.models import EmailAddress
from django.test import override_settings

from tests.api.refusals.rows import SITE, Row, World, call

NO_CHANGE = f"A token cannot change the addresses that sign in. Use the web page: {SITE}/addresses/"


def change_of_a_mailbox(body: Any) -> Callable[[World], Any]:
    def ask(world: World) -> Any:
        home = EmailAddress.objects.create(user=world.alice, email="alice@home.test", verified=True)
        return world.send("PUT", f"/api/mailboxes/{home.pk}", body)

    return ask


def with_signup_open(world: World) -> Any:
    with override_settings(SIGNUP_OPEN=True):
        return world.send("POST", "/api/auth/register", {"email": "new@home.test", "password": "x"})


PAGES_ALONE = [
    call(
        "an account made by an app",
        400,
        "Only an admin can create accounts on this server.",
        "POST",
        "/api/auth/register",
    ),
    Row(
        "an account made by an app, where signing up is open",
        400,
        f"Make your account on the web page: {SITE}/accounts/signup/",
        with_signup_open,
    ),
    *(
        call(
            f"{deed} by an app",
            400,
            f"Open the link in the mail. Signing in on the web page sends it again: {SITE}/accounts/login/",
            "POST",
            path,
        )
        for deed, path in (
            ("an account activated", "/api/auth/activate"),
            ("the mail sent again", "/api/auth/reactivate"),
        )
    ),
    call(
        "a forgotten password",
        400,
        f"Ask for a new password on the web page: {SITE}/accounts/password/reset/",
        "POST",
        "/api/auth/forgot_password",
        {"email": "alice@example.com"},
    ),
    call(
        "more rights for a token",
        403,
        f"A token cannot get more rights. Use the web page: {SITE}/account/",
        "PATCH",
        "/api/sudo",
        {"password": "alice-password-1"},
    ),
    call(
        "the account deleted by a token",
        440,
        f"Need sudo: delete your account on the web page: {SITE}/account/delete/",
        "DELETE",
        "/api/user",
    ),
    call(
        "a session for a token",
        403,
        f"A token cannot sign in to the web page. Sign in there: {SITE}/accounts/login/",
        "GET",
        "/api/user/cookie_token",
    ),
    Row("another default mailbox", 403, NO_CHANGE, change_of_a_mailbox({"default": True})),
    Row("another address of a mailbox", 403, NO_CHANGE, change_of_a_mailbox({"email": "a@b.test"})),
    call(
        "a Proton account",
        400,
        "No Proton account is linked.",
        "DELETE",
        "/api/setting/unlink_proton_account",
    ),
    call(
        "a notification marked as read",
        403,
        f"This stays until the address accepts mail again: {SITE}/addresses/",
        "POST",
        "/api/notifications/1/read",
    ),
]
