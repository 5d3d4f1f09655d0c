"""The Public Suffix List (publicsuffix.org), private domains included. No Django here."""

from functools import cache, lru_cache

from publicsuffixlist import PublicSuffixList


@cache
def suffixes(*, with_private: bool = True) -> PublicSuffixList:
    """The package's own copy of the list, which is read at the first call. The private ones are those that
    companies have put on it."""
    return PublicSuffixList(accept_unknown=False, only_icann=not with_private)


@lru_cache(10_000)
def registrable_domain(name: str) -> str:
    """The registered domain that the name is in, "" if it is a public suffix or in none."""
    return suffixes().privatesuffix(name) or ""


def split_registrable(name: str, *, with_private: bool = True) -> tuple[str, str]:
    """The label below the name's public suffix, "" if the name is one; and the suffix, "" if nobody lists
    one."""
    listed = suffixes(with_private=with_private)
    suffix = listed.publicsuffix(name) or ""
    registrable = (listed.privatesuffix(name) if suffix else None) or ""
    return registrable.removesuffix(f".{suffix}"), suffix
