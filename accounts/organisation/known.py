"""The sources that this installation has, by its settings."""

from django.conf import settings

from accounts.organisation.sources import Source


def name_of(issuer: str) -> str:
    """What people call the source with this issuer; the issuer itself if the settings have none."""
    sources: tuple[Source | None, ...] = (
        *settings.OIDC_PROVIDERS,
        settings.TRUSTED_PROXY,
        settings.LDAP_DIRECTORY,
    )
    return next((source.name for source in sources if source and source.issuer == issuer), issuer)
