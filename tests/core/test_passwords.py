"""Passwords are checked in turns: strangers cannot make the server take memory without end."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth import hashers
from django.test import Client

from accounts.models import User
from core import passwords
from core.passwords import TooBusy, Turns


class Hashing:
    """Stands for the hash function, and sees how many are at it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float = 0.05) -> None:
        self.running = self.most = 0
        self.lock = threading.Lock()
        self.seconds = seconds
        monkeypatch.setattr(hashers.Argon2PasswordHasher, "encode", self.hash)
        monkeypatch.setattr(hashers.Argon2PasswordHasher, "verify", self.hash)

    def hash(self, *args: Any) -> str:
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        time.sleep(self.seconds)
        with self.lock:
            self.running -= 1
        return "argon2$x"


def test_64_at_once_are_hashed_in_turns_and_few_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    hashing = Hashing(monkeypatch)
    monkeypatch.setattr(passwords, "_turns", Turns(2, 4))
    hasher = passwords.Argon2PasswordHasher()

    def one(number: int) -> bool:
        try:
            if number % 2:
                hasher.encode("password", "saltsaltsalt")
            else:
                hasher.verify("password", "argon2$x")
        except TooBusy:
            return False
        return True

    with ThreadPoolExecutor(64) as pool:
        done = list(pool.map(one, range(64)))

    assert hashing.most <= 2
    assert 6 <= sum(done) < 64


def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "WAIT_SECONDS", 0.01)
    turns = Turns(1, 1)

    with turns.turn(), pytest.raises(TooBusy):
        turns.turn().__enter__()
    with turns.turn():
        pass


@pytest.fixture
def busy(alice: User, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The server is checking as many passwords as it can."""
    settings.PASSWORD_HASHERS = ["core.passwords.Argon2PasswordHasher"]
    alice.set_password("alice-password-1")
    alice.save()
    turns = Turns(1, 0)
    monkeypatch.setattr(passwords, "_turns", turns)
    with turns.turn():
        yield


@pytest.mark.django_db
@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize("login", ["alice@example.com", "nobody@example.com"])
def test_a_sign_in_is_told_to_come_back(login: str) -> None:
    answer = Client().post("/accounts/login/", {"login": login, "password": "alice-password-1"})

    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert "Try again in a few seconds" in answer.content.decode()


@pytest.mark.django_db
@pytest.mark.usefixtures("busy")
def test_a_sign_up_is_told_to_come_back(settings: Any) -> None:
    settings.SIGNUP_OPEN = True
    form = {"email": "new@home.test", "password1": "a-long-password-1", "password2": "a-long-password-1"}

    answer = Client().post("/accounts/signup/", form)

    assert answer.status_code == 503
    assert not User.objects.filter(email="new@home.test").exists()


@pytest.mark.django_db
@pytest.mark.usefixtures("busy")
def test_the_apis_sign_in_is_told_to_come_back() -> None:
    answer = Client().post(
        "/api/auth/login",
        {"email": "alice@example.com", "password": "alice-password-1", "device": "x"},
        "application/json",
    )

    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert "Try again in a few seconds" in answer.json()["error"]


@pytest.mark.django_db
@pytest.mark.usefixtures("busy")
def test_whoever_is_asked_for_the_password_again_is_told_to_come_back(alice: User, client: Client) -> None:
    client.force_login(alice)

    answer = client.post("/accounts/reauthenticate/", {"password": "alice-password-1"})

    assert answer.status_code == 503
