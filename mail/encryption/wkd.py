"""Looking a key up in its domain's Web Key Directory (draft-koch-openpgp-webkey-service) for its owner."""

import hashlib
import logging
from urllib.parse import quote

from django.utils.translation import gettext

from core.addresses import AddressError, domain_to_ascii
from core.exceptions import RuleError
from core.outgoing import Answer, OutgoingError, Unreachable, request
from mail.encryption.certificates import KEY_MAX

logger = logging.getLogger(__name__)

# Seconds for both ways together: a page waits for them.
SECONDS = 8.0
_ALPHABET = "ybndrfg8ejkmcpqxot1uwisza345h769"


class NoKeyFound(RuleError, code="no_key_found", status=404):
    """The directory has no key for the address, or there is no directory."""


def find(email: str) -> bytes:
    """The key's octets, from the `openpgpkey` host of the address's domain, or from the domain itself if
    there is no such host. Raises NoKeyFound."""
    advanced, direct = urls(email)
    try:
        try:
            answer = _ask(advanced)
        except Unreachable as error:
            if error.reason != "dns":
                raise
            answer = _ask(direct)
    except OutgoingError as error:
        logger.info("key directory: %s", error.reason)
        raise _none() from error
    if answer.status != 200 or answer.is_cut or not answer.content:
        logger.info("key directory: status %s", answer.status)
        raise _none()
    return answer.content


def urls(email: str) -> tuple[str, str]:
    """The two places where the key may be (§3.1 of the draft). Raises NoKeyFound."""
    local_part, _at, domain_text = email.rpartition("@")
    try:
        domain = domain_to_ascii(domain_text)
    except AddressError as error:
        raise _none() from error
    name = f"hu/{_hashed(local_part)}?l={quote(local_part, safe='')}"
    return (
        f"https://openpgpkey.{domain}/.well-known/openpgpkey/{domain}/{name}",
        f"https://{domain}/.well-known/openpgpkey/{name}",
    )


def _ask(url: str) -> Answer:
    return request(url, octets_max=KEY_MAX, seconds=SECONDS / 2)


def _hashed(local_part: str) -> str:
    """The SHA-1 of the local part, whose ASCII letters are small, in z-base-32 (§3.1 of the draft)."""
    small = "".join(each.lower() if each.isascii() else each for each in local_part)
    number = int.from_bytes(hashlib.sha1(small.encode(), usedforsecurity=False).digest())
    return "".join(_ALPHABET[number >> at & 31] for at in range(155, -1, -5))


def _none() -> NoKeyFound:
    return NoKeyFound(gettext("No key for this address was found in the Web Key Directory of its domain."))
