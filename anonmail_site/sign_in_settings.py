"""The settings about signing in with what an organisation has (docs/sign-in.md)."""

import re
from typing import Any

from accounts.organisation.sources import ANY_DOMAIN, Directory, OpenIdProvider, TrustedProxy
from anonmail_site.environment import MISREAD, env
from core.addresses import AddressError, domain_to_ascii

_KEY = re.compile("[a-z][a-z0-9-]{0,29}")
_HEADER = re.compile("[A-Za-z][A-Za-z0-9-]{0,60}")


def openid_providers() -> tuple[OpenIdProvider, ...]:
    """The providers that OIDC_PROVIDERS names. One that is invalid is noted in MISREAD and left out."""
    found = []
    for key in dict.fromkeys(map(str.strip, env.list("OIDC_PROVIDERS", default=[]))):
        if not _KEY.fullmatch(key):
            MISREAD["OIDC_PROVIDERS"] = "Write short names of a-z, 0-9 and -, with commas between them."
            continue
        prefix = f"OIDC_{key.upper().replace('-', '_')}"
        lacking = [name for name in ("ISSUER", "CLIENT_ID") if not env.str(f"{prefix}_{name}", default="")]
        if lacking:
            MISREAD[f"{prefix}_{lacking[0]}"] = "Set it, or remove the provider from OIDC_PROVIDERS."
            continue
        found.append(
            OpenIdProvider(
                key=key,
                name=env.str(f"{prefix}_NAME", default=key.capitalize()),
                issuer=env.str(f"{prefix}_ISSUER"),
                client_id=env.str(f"{prefix}_CLIENT_ID"),
                client_secret=_secret(f"{prefix}_CLIENT_SECRET"),
                scopes=_scopes(prefix),
                groups_claim=env.str(f"{prefix}_GROUPS_CLAIM", default="groups"),
                domains_claim=env.str(f"{prefix}_DOMAINS_CLAIM", default=""),
                second_factor=tuple(env.list(f"{prefix}_SECOND_FACTOR", default=[])),
                **_beliefs(prefix),
            )
        )
    return tuple(found)


def trusted_proxy() -> TrustedProxy | None:
    """The proxy that names people in headers, if PROXY_USER_HEADER is set."""
    headers = {
        "user_header": env.str("PROXY_USER_HEADER", default=""),
        "email_header": env.str("PROXY_EMAIL_HEADER", default="Remote-Email"),
        "name_header": env.str("PROXY_NAME_HEADER", default="Remote-Name"),
        "groups_header": env.str("PROXY_GROUPS_HEADER", default="Remote-Groups"),
    }
    if not headers["user_header"]:
        return None
    for name, header in headers.items():
        if header and not _HEADER.fullmatch(header):
            MISREAD[f"PROXY_{name.upper()}"] = "Write the name of a header, as Remote-User."
            return None
    return TrustedProxy(key="proxy", name="Proxy", issuer="proxy", **headers, **_beliefs("PROXY"))


def directory() -> Directory | None:
    """The directory whose passwords sign people in, if LDAP_URI is set."""
    uri, user_base = env.str("LDAP_URI", default=""), env.str("LDAP_USER_BASE", default="")
    group_base = env.str("LDAP_GROUP_BASE", default="")
    user_filter = env.str("LDAP_USER_FILTER", default="(mail=%(user)s)")
    group_filter = env.str("LDAP_GROUP_FILTER", default="(|(objectClass=groupOfNames)(objectClass=group))")
    found = {
        "uri": uri,
        "start_tls": env.bool("LDAP_START_TLS", default=False),
        "user_base": user_base,
        "user_filter": user_filter,
        "id_attribute": env.str("LDAP_ID_ATTRIBUTE", default="entryUUID"),
        "bind_dn": env.str("LDAP_BIND_DN", default=""),
        "bind_password": env.str("LDAP_BIND_PASSWORD", default="").rstrip("\r\n"),
        "group_base": group_base,
        "group_filter": group_filter,
    }
    if not uri:
        return None
    if not user_base:
        MISREAD["LDAP_USER_BASE"] = "Write where the people are, as ou=people,dc=example,dc=com."
    try:
        _ = user_filter % {"user": "x"}
    except (KeyError, TypeError, ValueError):
        MISREAD["LDAP_USER_FILTER"] = (
            "Write a filter with %(user)s in it, and no other %, as (mail=%(user)s)."
        )
    return Directory(key="ldap", name="LDAP", issuer="ldap", **found, **_beliefs("LDAP"))


def _beliefs(prefix: str) -> dict[str, Any]:
    """What every kind of source has in common."""
    return {
        "new_people": _domains(f"{prefix}_NEW_PEOPLE", any_domain=True),
        "vouches_for": _domains(f"{prefix}_VOUCHES_FOR"),
        "trusts_addresses": env.bool(f"{prefix}_TRUST_EMAIL", default=prefix in {"LDAP", "PROXY"}),
        "admin_group": env.str(f"{prefix}_ADMIN_GROUP", default=""),
        "manager_prefix": env.str(f"{prefix}_MANAGER_PREFIX", default=""),
    }


def _secret(name: str) -> str:
    """The secret, without the line end of the file in which it may be."""
    return str(env.str(name, default="")).rstrip("\r\n")


def _scopes(prefix: str) -> tuple[str, ...]:
    scopes = env.str(f"{prefix}_SCOPES", default="openid email profile").replace(",", " ").split()
    return tuple(dict.fromkeys(["openid", *scopes]))


def _domains(name: str, *, any_domain: bool = False) -> tuple[str, ...]:
    """The domain names in a setting, as A-labels. An invalid one is noted in MISREAD and left out."""
    found = []
    for text in map(str.strip, env.list(name, default=[])):
        if any_domain and text == ANY_DOMAIN:
            found.append(text)
            continue
        try:
            found.append(domain_to_ascii(text))
        except AddressError:
            MISREAD[name] = "Write domain names, as example.com,example.org."
    return tuple(found)
