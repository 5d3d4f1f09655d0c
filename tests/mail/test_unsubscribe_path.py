"""The signed link that disables an alias: written quickly, and read by Django's signer."""

import pytest
from django.core.signing import BadSignature, Signer
from pytest_django import Settings

from mail.unsubscribe import unsubscribe_path


def token_of(alias_id: int) -> str:
    return unsubscribe_path(alias_id).removesuffix("/").rpartition("/")[2]


@pytest.mark.parametrize("alias_id", [1, 77, 2**48 - 1])
def test_the_link_is_the_one_that_djangos_signer_makes(alias_id: int) -> None:
    assert token_of(alias_id) == Signer(salt="mail.unsubscribe").sign(str(alias_id))


def test_a_new_secret_key_signs_from_then_on(settings: Settings) -> None:
    before = token_of(1)
    settings.SECRET_KEY = "another-secret-of-this-test" * 2

    assert token_of(1) == Signer(salt="mail.unsubscribe").sign("1") != before


def test_a_link_for_one_alias_is_none_for_another() -> None:
    signature = token_of(1).partition(":")[2]

    with pytest.raises(BadSignature):
        Signer(salt="mail.unsubscribe").unsign(f"2:{signature}")
