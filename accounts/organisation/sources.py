"""Who says who somebody is, and how far that is believed. Settings are made of these: no Django here."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

ANY_DOMAIN = "*"


def is_secure_url(url: str) -> bool:
    """Whether what goes there is encrypted, or does not leave this machine."""
    parts = urlsplit(url)
    is_here = parts.hostname in {"localhost", "127.0.0.1", "::1"}
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and is_here))


def _is_secure_directory(uri: str) -> bool:
    parts = urlsplit(uri)
    is_here = parts.scheme == "ldapi" or parts.hostname in {"localhost", "127.0.0.1", "::1"}
    return parts.scheme == "ldaps" or is_here


@dataclass(frozen=True, kw_only=True)
class Source:
    """Whoever says who somebody is.

    Domain names are lower-case A-labels. `issuer` is what identities are kept under: two sources of one
    issuer share their people.
    """

    key: str
    name: str
    issuer: str
    # Domains whose people get an account when they first come; ANY_DOMAIN for all. Empty: nobody does.
    new_people: tuple[str, ...] = ()
    # Domains in which the source decides who has which address: an account that exists is then theirs.
    vouches_for: tuple[str, ...] = ()
    # Whether each address that it names counts as verified, said or not.
    trusts_addresses: bool = False
    # Members are global admins for as long as they are members. Empty: it makes nobody one.
    admin_group: str = ""
    # Members of the group `<prefix><domain>` manage that domain. Empty: groups make nobody a manager.
    manager_prefix: str = ""

    def may_bring(self, domain: str) -> bool:
        """Whether somebody with an address at this domain gets an account here."""
        return ANY_DOMAIN in self.new_people or domain in self.new_people

    @property
    def gives_rights(self) -> bool:
        """Whether its groups or claims decide about rights."""
        return bool(self.admin_group or self.manager_prefix)


@dataclass(frozen=True, kw_only=True)
class OpenIdProvider(Source):
    """An OpenID Connect provider."""

    client_id: str
    # None at all: a public client.
    client_secret: str = field(default="", repr=False)
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    groups_claim: str = "groups"
    # The claim that lists the domains that somebody manages. Empty: none does.
    domains_claim: str = ""
    # Values of `amr` or `acr` that stand for a second factor. Without one, ours is still asked for.
    second_factor: tuple[str, ...] = ()

    @property
    def gives_rights(self) -> bool:
        """Whether its groups or claims decide about rights."""
        return super().gives_rights or bool(self.domains_claim)


@dataclass(frozen=True, kw_only=True)
class TrustedProxy(Source):
    """A proxy among TRUSTED_PROXIES that signs people in and names them in headers."""

    user_header: str
    email_header: str
    name_header: str = ""
    groups_header: str = ""

    @property
    def meta_names(self) -> tuple[str, ...]:
        """The headers as WSGI names them."""
        names = (self.user_header, self.email_header, self.name_header, self.groups_header)
        return tuple("HTTP_" + name.upper().replace("-", "_") for name in names if name)


@dataclass(frozen=True, kw_only=True)
class Directory(Source):
    """An LDAP directory that checks passwords."""

    uri: str
    start_tls: bool = False
    # Who searches; empty: nobody in particular.
    bind_dn: str = ""
    bind_password: str = field(default="", repr=False)
    user_base: str
    # `%(user)s` stands for the address, escaped.
    user_filter: str = "(mail=%(user)s)"
    # What never changes about an entry.
    id_attribute: str = "entryUUID"
    group_base: str = ""
    group_filter: str = "(|(objectClass=groupOfNames)(objectClass=group))"

    @property
    def uris(self) -> list[str]:
        """The servers, which are tried one after the other (ldap_initialize(3))."""
        return self.uri.replace(",", " ").split()

    @property
    def has_secure_way(self) -> bool:
        """Whether passwords go there encrypted, or do not leave this machine."""
        return self.start_tls or all(map(_is_secure_directory, self.uris))
