"""Ids for addy.io's clients that reveal neither how many rows there are nor which came first."""

import uuid
from functools import lru_cache

from django.urls.converters import UUIDConverter
from django.utils.crypto import salted_hmac


class UUIDInAnyCase(UUIDConverter):
    """An id in a path: Django's converter, with capital letters too."""

    regex = UUIDConverter.regex.replace("a-f", "a-fA-F")


@lru_cache(4096)
def public_id(kind: str, key: int | str) -> uuid.UUID:
    """The id of the row of that kind with this key: the same as long as SECRET_KEY is (RFC 9562 §5.8).

    Aliases, which are looked up by it, have a random one in a column instead.
    """
    digest = salted_hmac("aliases.api.public_id", f"{kind}:{key}", algorithm="sha256").digest()
    number = int.from_bytes(digest[:16])
    number = number & ~(0xF << 76) | 8 << 76  # version 8
    number = number & ~(0b11 << 62) | 0b10 << 62  # the variant
    return uuid.UUID(int=number)
