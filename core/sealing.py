"""Secrets that the database keeps: readable only with the SECRET_KEY under which they were stored."""

import base64
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings


class CannotUnseal(Exception):
    """The text was sealed under another SECRET_KEY or for another purpose, or was changed."""


def seal(purpose: str, secret: bytes) -> str:
    """The secret, encrypted and authenticated. What is sealed for one purpose cannot be read for another."""
    return _cipher(settings.SECRET_KEY, purpose).encrypt(secret).decode("ascii")


def unseal(purpose: str, sealed: str) -> bytes:
    """The secret again. Raises CannotUnseal."""
    try:
        return _cipher(settings.SECRET_KEY, purpose).decrypt(sealed)
    except InvalidToken as error:
        raise CannotUnseal from error


@lru_cache(maxsize=4)
def _cipher(secret_key: str, purpose: str) -> Fernet:
    derivation = HKDF(SHA256(), length=32, salt=None, info=f"anonmail {purpose}".encode())
    return Fernet(base64.urlsafe_b64encode(derivation.derive(secret_key.encode())))
