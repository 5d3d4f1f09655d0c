"""The Public Suffix List (publicsuffix.org), private domains included. No Django here."""

from functools import lru_cache

from tldextract import TLDExtract

# The package's own copy: no network, no cache on disk.
extract = TLDExtract(suffix_list_urls=(), cache_dir=None, include_psl_private_domains=True)


@lru_cache(10_000)
def registrable_domain(name: str) -> str:
    """The registered domain that the name is in, "" if it is a public suffix or in none."""
    return extract.extract_str(name).top_domain_under_public_suffix
