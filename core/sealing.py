"""Secrets that the database keeps: readable only with the secret key under which they were stored."""

import base64
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from core.secret_keys import secret_keys


class CannotUnseal(Exception):
    """The text was sealed under a key that is no longer known, or for another purpose, or was changed."""


def seal(purpose: str, secret: bytes) -> str:
    """The secret, encrypted and authenticated. What is sealed for one purpose cannot be read for another."""
    return _cipher(settings.SECRET_KEY, purpose).encrypt(secret).decode("ascii")


def unseal(purpose: str, sealed: str) -> bytes:
    """The secret again. Raises CannotUnseal."""
    for key in secret_keys():
        try:
            return _cipher(key, purpose).decrypt(sealed)
        except InvalidToken:
            continue
    raise CannotUnseal


def sealed_by_present_key(purpose: str, sealed: str) -> str:
    """The text as it is if the present key reads it; if an earlier one does, the secret sealed anew.

    Raises CannotUnseal.
    """
    try:
        _cipher(settings.SECRET_KEY, purpose).decrypt(sealed)
    except InvalidToken:
        return seal(purpose, unseal(purpose, sealed))
    return sealed


@lru_cache(maxsize=16)
def _cipher(secret_key: str, purpose: str) -> Fernet:
    derivation = HKDF(SHA256(), length=32, salt=None, info=f"anonmail {purpose}".encode())
    return Fernet(base64.urlsafe_b64encode(derivation.derive(secret_key.encode())))
