"""What a mail server in front has found out about a message's author: Authentication-Results (RFC 8601)."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from django.conf import settings

from core.addresses import domain_or_none
from core.public_suffixes import registrable_domain
from mail.delivery.message import Fields

FIELD = "authentication-results"
# Characters of a field that are looked at, and results in it: a server in front writes a dozen.
_FIELD_MAX = 16 * 1024
_RESULTS_MAX = 100

# A quoted string, a word, or a sign.
_TOKEN = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;="]+)|([;=]))', re.DOTALL)
_FIRST_WORD = re.compile(r"[\s;(]")
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)

Result = tuple[str, str, dict[str, str]]


class _Token(NamedTuple):
    """A word, or one of the signs `;` and `=`. What is quoted is always a word."""

    word: str
    sign: str


@dataclass(frozen=True)
class Authentication:
    """The results that a trusted server has written down; empty if there is none.

    `dkim`: the domains of the signatures that are good. `spf`: the envelope sender's domain if its SPF record
    lets the client send. `dmarc`: the result for From, as in "pass" or "fail"; `author`: the domain that the
    server has read in From, "" if it does not say.
    """

    dkim: frozenset[str] = frozenset()
    spf: str = ""
    dmarc: str = ""
    author: str = ""

    @property
    def is_forged(self) -> bool:
        """Whether the author's domain disowns the message."""
        return self.dmarc == "fail"

    def is_proven_for(self, domain: str) -> bool:
        """Whether DMARC passed for this domain: the server may have read From in another way than we do."""
        return self.dmarc == "pass" and self.author in {"", domain}

    def has_signature_for(self, domain: str) -> bool:
        """Whether a good signature is the author's domain's own."""
        return any(is_aligned(signer, domain) for signer in self.dkim)

    def has_sender_for(self, domain: str) -> bool:
        """Whether the envelope sender is the author's domain's own, and proven."""
        return bool(self.spf) and is_aligned(self.spf, domain)


NOTHING = Authentication()


def results(fields: Fields) -> Authentication:
    """What the topmost Authentication-Results field of one of MAIL_AUTHSERV_IDS says.

    Anybody can write such a field, so the others are not looked at. If a trusted one is malformed, its author
    had something to hide: the message counts as forged.
    """
    trusted = {name.lower() for name in settings.MAIL_AUTHSERV_IDS}
    for name, text in fields:
        if name != FIELD or not trusted:
            continue
        found = _read(text)
        if found is None and _FIRST_WORD.split(text.strip(), maxsplit=1)[0].lower() in trusted:
            return Authentication(dmarc="fail")
        if found and found[0] in trusted:
            return _summary(found[1])
    return NOTHING


def is_aligned(domain: str, author: str) -> bool:
    """Whether the two domains, as A-labels, belong to one organization (RFC 9989): "relaxed" alignment."""
    if domain == author:
        return True
    organization = registrable_domain(author)
    return bool(organization) and registrable_domain(domain) == organization


def _summary(found: list[Result]) -> Authentication:
    signers, sender, dmarc, author = set(), "", "", ""
    for method, result, properties in found:
        if method == "dmarc":
            # One of two that disagree is not to be believed.
            dmarc = result if dmarc in {"", result} else "fail"
            if text := properties.get("header.from"):
                author = domain_or_none(text.rpartition("@")[2]) or text
        if result != "pass":
            continue
        if method == "dkim":
            signer = properties.get("header.d") or properties.get("header.i", "").rpartition("@")[2]
            signers.add(domain_or_none(signer))
        elif method == "spf":
            sender = domain_or_none(properties.get("smtp.mailfrom", "").rpartition("@")[2]) or ""
    return Authentication(frozenset(filter(None, signers)), sender, dmarc, author)


def _read(text: str) -> tuple[str, list[Result]] | None:
    """The authserv-id and the results (method, result, properties); None for a field that is malformed."""
    plain = _without_comments(text) if len(text) <= _FIELD_MAX else None
    tokens = _tokens(plain) if plain is not None else None
    if not tokens:
        return None
    groups: list[list[_Token]] = [[]]
    for token in tokens:
        if token.sign == ";":
            groups.append([])
        else:
            groups[-1].append(token)
    # The identifier, perhaps with a version of the format (RFC 8601 §2.2).
    server, *others = groups
    if len(server) not in {1, 2} or any(token.sign for token in server) or len(groups) > _RESULTS_MAX:
        return None
    return server[0].word.lower(), [result for group in others if (result := _result(group))]


def _result(group: list[_Token]) -> Result | None:
    """`method[/version]=result` and pairs such as `ptype.property=…`; None for anything else."""
    names, signs, values = group[::3], group[1::3], group[2::3]
    is_pairs = len(names) == len(signs) == len(values)
    if not group or not is_pairs or any(each.sign for each in (*names, *values)):
        return None
    if any(each.sign != "=" for each in signs):
        return None
    (method, result), *others = zip(names, values, strict=True)
    properties: dict[str, str] = {}
    for name, value in others:
        properties.setdefault(name.word.lower(), value.word)
    return method.word.partition("/")[0].lower(), result.word.lower(), properties


def _tokens(text: str) -> list[_Token] | None:
    """The tokens of a text without comments; None if something else is in it."""
    found, position = [], 0
    text = text.strip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            return None
        quoted, word, sign = match.groups()
        found.append(_Token(word or _QUOTED_PAIR.sub(r"\1", quoted or ""), sign or ""))
        position = match.end()
    return found


def _without_comments(text: str) -> str | None:
    """The text with a space for each comment (RFC 5322 §3.2.2); None if one of them, or a quoted string, has
    no end: what follows may be anybody's."""
    kept, depth, is_quoted = [], 0, False
    characters = iter(text)
    for character in characters:
        if character == "\\" and (depth or is_quoted):
            character += next(characters, "")
        elif character == '"' and not depth:
            is_quoted = not is_quoted
        elif character == "(" and not is_quoted:
            depth += 1
            continue
        elif character == ")" and not is_quoted:
            if not depth:
                return None
            depth -= 1
            kept.append(" ")
            continue
        if not depth:
            kept.append(character)
    return None if depth or is_quoted else "".join(kept)
