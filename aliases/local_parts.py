"""What may be an alias's local part. Pure; no Django here."""

import re

from core.addresses import LOCAL_PART_MAX_OCTETS, AddressError, parse_without_tag

# RFC 2142 and relatives: names that a domain's people or its mail software answer to.
RESERVED_NAMES = frozenset(
    """
    abuse admin administrator anonymous autoconfig autodiscover billing bounce bounces contact daemon dmarc
    ftp help hostmaster hr info it legal list mail mailer-daemon mailerdaemon marketing mta-sts news
    no-reply nobody noc noreply notifications null office owner postmaster press privacy root sales
    security service ssladmin ssladministrator sslwebmaster support sysadmin system tls-reports usenet
    uucp webmaster www
    """.split()  # noqa: SIM905 - a list of seventy quoted words is harder to read
)
# What begins so is a bounce address (ours, VERP), a reverse address or an SRS one: never an alias.
RESERVED_PREFIXES = ("b.", "bounce.", "bounce-", "bounces.", "bounces-", "prvs.", "r.", "srs0", "srs1")

_LOCAL_PART = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")


def check_local_part(local_part: str) -> None:
    """Raise AddressError, with a sentence, where `local_part` may not be an alias's.

    Lower case, at most 64 octets (RFC 5321 §4.5.3.1.1), letters, digits and single separators
    between them, and no name that is reserved.
    """
    if len(local_part) > LOCAL_PART_MAX_OCTETS:
        raise AddressError(f"The part before the @ has at most {LOCAL_PART_MAX_OCTETS} characters.")
    if not _LOCAL_PART.fullmatch(local_part):
        raise AddressError(
            "The part before the @ consists of lower-case letters and digits, with single dots, "
            "hyphens or underscores between them."
        )
    if is_reserved(local_part):
        raise AddressError("This name is reserved.")


def is_reserved(local_part: str) -> bool:
    """Whether the name belongs to the domain's own people or software."""
    return local_part in RESERVED_NAMES or local_part.startswith(RESERVED_PREFIXES)


def resolved_form(text: str) -> str:
    """The alias address that mail to `text` is looked up as: any case, any `+tag`, U- or A-labels.

    Raises AddressError where `text` is no address.
    """
    return str(parse_without_tag(text))
