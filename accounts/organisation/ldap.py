"""Signing in with the password of a directory, by django-auth-ldap. Imported only if LDAP_URI is set."""

import logging
from typing import Any

import ldap
from django.conf import settings
from django.dispatch import receiver
from django.http import HttpRequest
from django_auth_ldap.backend import LDAPBackend, ldap_error
from django_auth_ldap.config import GroupOfNamesType, LDAPSearch

from accounts.models import User
from accounts.organisation.arriving import arrive
from accounts.organisation.person import LISTED_MAX, Person, as_list, as_name, as_subject
from accounts.organisation.session_end import limit_session
from accounts.organisation.sources import Directory

logger = logging.getLogger(__name__)

# Seconds.
SILENCE_MAX = 5


class DirectoryBackend(LDAPBackend):  # type: ignore[misc]
    """Finds somebody in the directory by the address, and lets the directory check the password."""

    # A prefix without settings: all of them are in LDAP_DIRECTORY.
    settings_prefix = "ANONMAIL_UNUSED_LDAP_"

    @property
    def default_settings(self) -> dict[str, Any]:
        """What django-auth-ldap reads from Django's settings elsewhere."""
        directory = _directory()
        attributes = ["*", directory.id_attribute]
        return {
            "SERVER_URI": directory.uri,
            "START_TLS": directory.start_tls,
            "BIND_DN": directory.bind_dn,
            "BIND_PASSWORD": directory.bind_password,
            "USER_SEARCH": LDAPSearch(
                directory.user_base, ldap.SCOPE_SUBTREE, directory.user_filter, attributes
            ),
            "GROUP_SEARCH": LDAPSearch(
                directory.group_base, ldap.SCOPE_SUBTREE, directory.group_filter, ["cn", "member"]
            ),
            "GROUP_TYPE": GroupOfNamesType(name_attr="cn"),
            "ALWAYS_UPDATE_USER": False,
            "CONNECTION_OPTIONS": {
                ldap.OPT_NETWORK_TIMEOUT: SILENCE_MAX,
                ldap.OPT_TIMEOUT: SILENCE_MAX,
                # Another server could be named, and would be sent the password.
                ldap.OPT_REFERRALS: 0,
            },
        }

    def authenticate(
        self, request: HttpRequest | None, email: str | None = None, password: str | None = None, **_: object
    ) -> User | None:
        """The user whose password in the directory this is, or None. Raises ArrivalRefused."""
        if not email or "\x00" in email:
            return None
        user: User | None = super().authenticate(request, username=email, password=password)
        # Apps have no session.
        if user is not None and request is not None and hasattr(request, "session"):
            limit_session(request)
        return user

    def get_or_build_user(self, username: str, ldap_user: Any) -> tuple[User, bool]:
        """The account of whom the directory has just recognised. Raises ArrivalRefused."""
        return arrive(_person(_directory(), ldap_user), ldap_user._request), False

    def get_user(self, user_id: int) -> User | None:
        """The user of a session, who may have been deactivated meanwhile."""
        return User.objects.filter(pk=user_id, is_active=True).first()


def _directory() -> Directory:
    if settings.LDAP_DIRECTORY is None:
        raise TypeError("This backend is for installations with LDAP_URI.")
    return settings.LDAP_DIRECTORY


def _person(directory: Directory, ldap_user: Any) -> Person:
    groups = sorted(ldap_user.group_names)[:LISTED_MAX] if directory.gives_rights else []
    return Person(
        source=directory,
        subject=as_subject(_first(ldap_user.attrs, directory.id_attribute)),
        email=_first(ldap_user.attrs, "mail"),
        is_verified=directory.trusts_addresses,
        name=as_name(_first(ldap_user.attrs, "displayName") or _first(ldap_user.attrs, "cn")),
        groups=as_list(groups),
    )


def _first(attributes: Any, name: str) -> str:
    """The attribute's first value as text; in hexadecimal if it is none (Active Directory's objectGUID)."""
    values = (attributes or {}).get(name) or [""]
    return values[0] if isinstance(values[0], str) else bytes(values[0]).hex()


@receiver(ldap_error)
def _log(context: str, exception: Exception, **_: object) -> None:
    """django-auth-ldap's own lines hold addresses, so that they are off (core.logs)."""
    logger.error("the directory failed: %s: %s", context, type(exception).__name__)
