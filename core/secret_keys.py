"""The installation's secret keys: the present one, under which all is made, and earlier ones."""

from django.conf import settings


def secret_keys() -> tuple[str, ...]:
    """The present key, then those that were present before: what was made under them still counts."""
    return settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS
