"""Sealed secrets: what it takes to read one."""

import pytest
from pytest_django import Settings

from core.sealing import CannotUnseal, seal, unseal


def test_a_secret_comes_back() -> None:
    sealed = seal("purpose", b"secret")

    assert unseal("purpose", sealed) == b"secret"
    assert b"secret" not in sealed.encode()
    assert seal("purpose", b"secret") != sealed


def test_only_the_same_key_and_purpose_open_it(settings: Settings) -> None:
    sealed = seal("purpose", b"secret")

    with pytest.raises(CannotUnseal):
        unseal("another", sealed)
    with pytest.raises(CannotUnseal):
        unseal("purpose", sealed[:-4] + "AAAA")
    with pytest.raises(CannotUnseal):
        unseal("purpose", "")
    settings.SECRET_KEY = "another-" + "x" * 60
    with pytest.raises(CannotUnseal):
        unseal("purpose", sealed)
