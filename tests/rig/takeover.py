"""Browsers of alice's, of a thief in her account, and the links in their mails."""

import re

from allauth.account.models import EmailAddress
from django.core import mail
from django.test import Client

from accounts.models import User

PASSWORD = "alice-password-1"
THIEF = "thief@evil.test"


def sign_in(email: str = "alice@example.com", password: str = PASSWORD) -> Client:
    browser = Client()
    browser.post("/accounts/login/", {"login": email, "password": password})
    return browser


def is_in(browser: Client) -> bool:
    return browser.get("/aliases/").status_code == 200


def mail_to(address: str) -> list[str]:
    """The bodies of the mails to this address."""
    return [str(message.body) for message in mail.outbox if message.to == [address]]


def link_to(address: str, path: str) -> str:
    """The path of the newest link below `path` that was mailed to this address."""
    found = [link for body in mail_to(address) for link in re.findall(rf"http://[^/\s]+({path}\S+)", body)]
    return found[-1]


def taken_over() -> Client:
    """The browser of somebody with alice's password, after the thief's address became the primary one."""
    thief = sign_in()
    thief.post("/addresses/", {"email": THIEF})
    thief.post(link_to(THIEF, "/accounts/confirm-email/"))
    make_primary(thief, THIEF)
    assert User.objects.get().email == THIEF
    return thief


def make_primary(browser: Client, email: str) -> None:
    browser.post(f"/addresses/{EmailAddress.objects.get(email=email).pk}/primary/")


def press(link: str) -> int:
    """What the button behind the link answers, to a browser in which nobody is signed in."""
    browser = Client(enforce_csrf_checks=True)
    page = browser.get(link)
    if page.status_code != 200:
        return page.status_code
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.content.decode())
    assert token
    assert browser.post(link).status_code == 403
    return browser.post(link, {"csrfmiddlewaretoken": token[1]}).status_code


def undo_link(address: str = "alice@example.com") -> str:
    return link_to(address, "/addresses/undo/")
