"""Whether a domain's SPF record lets an address send: check_host() of RFC 7208.

Two things are left out: `ptr`, which matches nothing here (RFC 7208 §5.5 says not to use it), and the
limit of void lookups.
"""

import re
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Network, IPv6Network, ip_network

from domains.dns.lookup import Address, Lookups

LOOKUPS_MAX = 10  # RFC 7208 §4.6.4
_EXCHANGES_MAX = 10

_VERSION = re.compile(r"v=spf1(?= |$)", re.IGNORECASE)
_MODIFIER = re.compile(r"([a-z][a-z0-9_.-]*)=(.*)", re.IGNORECASE)
_MECHANISM = re.compile(
    r"([-+?~]?)(all|include|a|mx|ptr|ip4|ip6|exists)(?::([^\s]+?))?(/[0-9]{1,2})?(//?[0-9]{1,3})?",
    re.IGNORECASE,
)
_MACRO = re.compile(r"%(?:\{([slodiphcrtv])([0-9]*)(r?)([-.+,/_=]*)\}|([%_-]))", re.IGNORECASE)


class Result(Enum):
    """RFC 7208 §2.6. A temperror is the exception Unanswered, a permerror InvalidPolicy."""

    NONE = "none"
    NEUTRAL = "?"
    PASS = "+"  # noqa: S105 - not a password
    FAIL = "-"
    SOFTFAIL = "~"


class InvalidPolicy(Exception):
    """The record, or one that it includes, cannot be evaluated: every receiver ignores it (permerror)."""


def records_among(texts: list[str]) -> list[str]:
    """The SPF records among a name's TXT records."""
    return [text for text in texts if _VERSION.match(text)]


@dataclass
class Policy:
    """The evaluation of a domain's record for one address. `spent`: the lookups that count."""

    lookups: Lookups
    address: Address
    sender_domain: str
    spent: int = 0

    async def check(self, domain: str) -> Result:
        """What the domain's record says of the address. Raises InvalidPolicy and Unanswered."""
        records = records_among(await self.lookups.texts(domain))
        if len(records) > 1:
            raise InvalidPolicy
        if not records:
            return Result.NONE
        redirect = ""
        mechanisms = []
        for term in records[0].split()[1:]:
            if modifier := _MODIFIER.fullmatch(term):
                if modifier[1].lower() == "redirect":
                    redirect = modifier[2]
            elif mechanism := _MECHANISM.fullmatch(term):
                mechanisms.append(mechanism)
            else:
                raise InvalidPolicy
        for mechanism in mechanisms:
            if await self._matches(mechanism, domain):
                return Result(mechanism[1] or "+")
        if not redirect:
            return Result.NEUTRAL
        self._spend()
        result = await self.check(self._expand(redirect, domain))
        if result is Result.NONE:
            raise InvalidPolicy
        return result

    async def _matches(self, mechanism: re.Match[str], domain: str) -> bool:
        _sign, kind, argument, length, long_length = mechanism.groups()
        kind = kind.lower()
        if kind == "all":
            return True
        if kind in {"ip4", "ip6"}:
            return self._is_in_network(kind, f"{argument or ''}{length or ''}{long_length or ''}")
        self._spend()
        if kind == "ptr":
            return False
        target = self._expand(argument, domain) if argument else domain
        if kind == "include":
            result = await self.check(target)
            if result is Result.NONE:
                raise InvalidPolicy
            return result is Result.PASS
        if kind == "exists":
            return bool(await self.lookups.addresses(target, (4,)))
        hosts = [target]
        if kind == "mx":
            hosts = await self.lookups.exchanges(target)
            if len(hosts) > _EXCHANGES_MAX:
                raise InvalidPolicy
        prefix = length if self.address.version == 4 else (long_length or "").removeprefix("/")
        for host in hosts:
            for found in await self.lookups.addresses(host, (self.address.version,)):
                if self.address in _network(f"{found}{prefix or ''}"):
                    return True
        return False

    def _is_in_network(self, kind: str, text: str) -> bool:
        network = _network(text)
        if network.version != int(kind[-1]):
            raise InvalidPolicy
        return self.address in network

    def _spend(self) -> None:
        self.spent += 1
        if self.spent > LOOKUPS_MAX:
            raise InvalidPolicy

    def _expand(self, text: str, domain: str) -> str:
        """The domain-spec with its macros (RFC 7208 §7) replaced."""
        if self.address.version == 4:
            dotted = str(self.address)
        else:
            dotted = ".".join(self.address.exploded.replace(":", ""))
        values = {
            "s": f"postmaster@{self.sender_domain}",
            "l": "postmaster",
            "o": self.sender_domain,
            "d": domain,
            "i": dotted,
            "h": self.sender_domain,
            "v": "in-addr" if self.address.version == 4 else "ip6",
        }

        def value(macro: re.Match[str]) -> str:
            letter, digits, reverse, delimiters, plain = macro.groups()
            if plain:
                return {"%": "%", "_": " ", "-": "%20"}[str(plain)]
            parts = re.split(f"[{re.escape(delimiters or '.')}]", values.get(letter.lower(), "unknown"))
            if reverse:
                parts.reverse()
            return ".".join(parts[-int(digits) :] if digits and int(digits) else parts)

        return _MACRO.sub(value, text)


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text, strict=False)
    except ValueError as error:
        raise InvalidPolicy from error
