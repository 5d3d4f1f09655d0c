"""Ids for addy.io's clients that reveal neither how many rows there are nor which came first."""

import uuid
from functools import lru_cache

from django.conf import settings
from django.urls.converters import UUIDConverter
from django.utils.crypto import salted_hmac

from core.secret_keys import secret_keys


class UUIDInAnyCase(UUIDConverter):
    """An id in a path: Django's converter, with capital letters too."""

    regex = UUIDConverter.regex.replace("a-f", "a-fA-F")


def public_id(kind: str, key: int | str) -> uuid.UUID:
    """The id of the row of that kind with this key: the same as long as SECRET_KEY is (RFC 9562 §5.8).

    Aliases, which are looked up by it, have a random one in a column instead.
    """
    return _id_under(settings.SECRET_KEY, kind, key)


def public_ids(kind: str, key: int | str) -> list[uuid.UUID]:
    """The row's ids under the present secret key and earlier ones, which clients may still send."""
    return [_id_under(secret_key, kind, key) for secret_key in secret_keys()]


@lru_cache(4096)
def _id_under(secret_key: str, kind: str, key: int | str) -> uuid.UUID:
    value = f"{kind}:{key}"
    digest = salted_hmac("aliases.api.public_id", value, secret=secret_key, algorithm="sha256").digest()
    number = int.from_bytes(digest[:16])
    number = number & ~(0xF << 76) | 8 << 76  # version 8
    number = number & ~(0b11 << 62) | 0b10 << 62  # the variant
    return uuid.UUID(int=number)
