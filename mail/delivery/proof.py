"""Whether a message to a reverse address comes from the owner: who wrote From, and what proves it."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from ipaddress import ip_address

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from core.addresses import address_or_none, domain_or_none
from domains.dns.lookup import Lookups, Unanswered
from domains.dns.spf import InvalidPolicy, Policy, Result
from mail.delivery.authentication import is_aligned, results
from mail.delivery.cleaning import Draft
from mail.delivery.message import Fields
from mail.delivery.vouching import Client

# Signatures of a message that are looked at.
_SIGNATURES_MAX = 5
# The same of a message to an address that anybody can guess, and its octets: to verify one takes seconds of
# a large message.
_GUESSABLE_SIGNATURES_MAX, _GUESSABLE_OCTETS_MAX = 2, 1024 * 1024
# A copy of a signed message that comes later than this is not believed: deliveries are remembered longer.
FRESH = timedelta(days=4)
# What a signature has to cover, beside To or Cc: it is all that binds the message to this reverse address.
_COVERED = ("from", "subject", "date", "message-id")
_WHITE_SPACE = re.compile(r"\s+")


class Unproven(Exception):
    """Nothing proves who wrote the message. The text says why, in a sentence without its full stop."""


class CannotTell(Exception):
    """The DNS does not answer: whether there is a proof shows later."""


@dataclass(frozen=True)
class Signature:
    """The tags of a DKIM-Signature field that matter here (RFC 6376 §3.5), and its number from the top."""

    number: int
    domain: str
    selector: str
    covered: tuple[str, ...]
    is_partial: bool
    is_strong: bool

    @property
    def record_name(self) -> str:
        return f"{self.selector}._domainkey.{self.domain}"


async def prove(
    draft: Draft,
    fields: Fields,
    sender: str,
    client: Client,
    own: frozenset[str],
    recipient: str,
    *,
    is_guessable: bool = False,
) -> None:
    """Return if the owner wrote the message. Raises Unproven, CannotTell, and Unsendable if From cannot be
    read.

    `sender`: the envelope's. `own`: the addresses that count. `recipient`: the reverse address, or one that
    `is_guessable`: then strangers' messages cost little.
    """
    author = draft.author
    if author in own and address_or_none(client.login) in own:
        return
    await _prove_author(draft, fields, sender, client, recipient, is_guessable=is_guessable)
    # Only who has proven to be the author is told: others could find out whose the alias is.
    if author not in own:
        raise Unproven(_("From is not an address of yours that may reply from this alias"))


async def _prove_author(
    draft: Draft, fields: Fields, sender: str, client: Client, recipient: str, *, is_guessable: bool
) -> None:
    """Return if the author wrote the message, whoever that is. Raises as `prove` does."""
    domain = draft.author.rpartition("@")[2]
    signatures = [each for each in _signatures(fields) if is_aligned(each.domain, domain)]
    if settings.MAIL_AUTHSERV_IDS:
        found = results(fields)
        if found.is_forged:
            raise Unproven(_("Your mail server found that From is forged"))
        if found.has_sender_for(domain) or (found.is_proven_for(domain) and not signatures):
            return
        good = [each for each in signatures if found.is_proven_for(domain) or each.domain in found.dkim]
    else:
        try:
            key = "SPF", client.address, sender
            if await _once(draft, key, partial(_may_send, client.address, sender, domain)):
                return
            if is_guessable:
                is_small = len(draft.content) <= _GUESSABLE_OCTETS_MAX
                signatures = signatures[:_GUESSABLE_SIGNATURES_MAX] if is_small else []
            good = await _verified(draft, signatures)
        except Unanswered as error:
            raise CannotTell from error
    if not good:
        raise Unproven(_("Nothing proves who sent it: no login, no SPF, no DKIM signature of your domain"))
    if not any(_binds(each, draft, recipient) for each in good):
        raise Unproven(_("The DKIM signature does not cover enough of the message"))


def _binds(signature: Signature, draft: Draft, recipient: str) -> bool:
    """Whether the signature is for this very message to this very recipient, made a short time ago."""
    fields = [name for name in ("to", "cc") if name in signature.covered]
    is_to_it = any(each.address == recipient for name in fields for each in draft.mailboxes(name))
    is_fresh = draft.date is not None and abs(timezone.now() - draft.date) <= FRESH
    covers_all = set(_COVERED) <= set(signature.covered)
    return covers_all and is_to_it and is_fresh and not signature.is_partial and bool(draft.message_id)


def _signatures(fields: Fields) -> Iterator[Signature]:
    texts = [text for name, text in fields if name == "dkim-signature"]
    for number, text in enumerate(texts[:_SIGNATURES_MAX]):
        tags = {
            name.strip(): _WHITE_SPACE.sub("", value)
            for name, _equals, value in (tag.partition("=") for tag in text.split(";"))
        }
        domain = domain_or_none(tags.get("d", ""))
        if domain and tags.get("s"):
            yield Signature(
                number=number,
                domain=domain,
                selector=tags["s"].lower(),
                covered=tuple(tags.get("h", "").lower().split(":")),
                is_partial="l" in tags,
                # RFC 8301 §3.1
                is_strong=tags.get("a", "") in {"rsa-sha256", "ed25519-sha256"},
            )


async def _may_send(client: str, sender: str, domain: str) -> bool:
    """Whether the envelope sender is in the author's domain, and its SPF record lets the client send. Raises
    Unanswered."""
    sender_domain = domain_or_none(sender.rpartition("@")[2])
    if not client or sender_domain is None or not is_aligned(sender_domain, domain):
        return False
    try:
        address = ip_address(client)
        return await Policy(Lookups(), address, sender_domain).check(sender_domain) is Result.PASS
    except (InvalidPolicy, ValueError):
        return False


async def _verified(draft: Draft, signatures: list[Signature]) -> list[Signature]:
    """The signatures that are good. Raises Unanswered."""
    lookups = Lookups()
    strong = [each for each in signatures if each.is_strong and not each.is_partial]
    return [
        each
        for each in strong
        if await _once(draft, ("DKIM", each.number), partial(_is_verified, draft.content, each, lookups))
    ]


async def _is_verified(content: bytes, signature: Signature, lookups: Lookups) -> bool:
    records = await lookups.texts(signature.record_name)
    return len(records) == 1 and await asyncio.to_thread(_is_good, content, signature.number, records[0])


async def _once(draft: Draft, key: object, ask: Callable[[], Awaitable[bool]]) -> bool:
    """What `ask` says of the message, which is asked for its first recipient alone. Raises Unanswered."""
    if key not in draft.proofs:
        try:
            draft.proofs[key] = await ask()
        except Unanswered:
            draft.proofs[key] = None
    answer = draft.proofs[key]
    if answer is None:
        raise Unanswered
    return answer


def _is_good(content: bytes, number: int, record: str) -> bool:
    # It brings a second library for cryptography, in each process: not before somebody needs it. This is a
    # thread, which nobody else waits for.
    import dkim

    try:
        return bool(dkim.DKIM(content).verify(idx=number, dnsfunc=lambda *_asked, **_more: record.encode()))
    except Exception:  # It raises whatever it comes across in a hostile message.
        return False
