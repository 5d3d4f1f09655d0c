"""SimpleLogin's way to choose a name: endings that are offered, signed, and come back with a prefix."""

from typing import Any

from django.core.signing import BadSignature, SignatureExpired, TimestampSigner
from django.utils.translation import gettext
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import User
from aliases.choosing import choose_domain
from aliases.issuing import issue_chosen, needs_suffix
from aliases.models import Alias
from aliases.naming import endings, site_label
from aliases.websites import bare_host
from api.errors import BadInput
from api.query import read_query
from api.simplelogin.aliases import addresses_of
from api.simplelogin.inputs import keys_field, text_field
from api.simplelogin.objects import new_alias_object
from api.views import ApiView
from core.exceptions import RuleError
from domains.models import Domain
from tokens.scopes import Scope

# As SimpleLogin's: seconds for which an offered ending can be used, and the longest prefix.
SUFFIX_VALID = 600
PREFIX_MAX = 40


class SuffixExpired(RuleError):
    """An ending that was not offered to this user, or too long ago."""

    code = "suffix_expired"
    status = 412


def _signer(user: User) -> TimestampSigner:
    """Signs endings for this user alone."""
    return TimestampSigner(salt=f"aliases.api.suffix:{user.pk}")


def suffixes(user: User) -> list[dict[str, Any]]:
    """The endings that are offered: of the domain on which random names are made first, else by name.

    On a domain where a chosen name needs no random part, the bare domain is offered too, before.
    """
    domains = list(Domain.objects.usable_by(user).order_by("name"))
    if domains:
        first, _style = choose_domain(user)
        domains.sort(key=lambda domain: domain != first)
    signer, offered = _signer(user), []
    for domain in domains:
        texts = [f"{next(endings(domain.minimum_style))}@{domain.name}"]
        if not needs_suffix(domain):
            texts.insert(0, f"@{domain.name}")
        offered += [
            {
                "suffix": text,
                "signed_suffix": signer.sign(text),
                "is_custom": not needs_suffix(domain),
                "is_premium": False,
            }
            for text in texts
        ]
    return offered


def read_suffix(user: User, signed: str) -> tuple[str, str]:
    """The (random part, domain) of a signed ending. Raises SuffixExpired."""
    try:
        suffix = _signer(user).unsign(signed, max_age=SUFFIX_VALID)
    except SignatureExpired as error:
        raise SuffixExpired(gettext("Alias creation time is expired, please retry")) from error
    except (BadSignature, UnicodeEncodeError) as error:
        raise SuffixExpired(gettext("Tampered suffix: it was not offered to you.")) from error
    ending, _at, domain = suffix.partition("@")
    return ending, domain


class Options(ApiView):
    """`GET /api/v5/alias/options`: what a custom alias may look like."""

    scope = Scope.CREATE

    def get(self, request: Request) -> Response:
        hostname = read_query(request.META.get("QUERY_STRING", "")).get("hostname", "")
        offered = suffixes(self.caller)
        answer: dict[str, Any] = {
            "can_create": bool(offered),
            "prefix_suggestion": site_label(hostname),
            "suffixes": self.written(offered),
        }
        host = bare_host(hostname)
        made = Alias.objects.owned_by(self.caller).present().filter(hostname=host)
        if host and (alias := made.order_by("-created", "-pk").first()):
            answer["recommendation"] = {"alias": alias.address, "hostname": alias.hostname}
        return Response(answer)

    def written(self, offered: list[dict[str, Any]]) -> list[Any]:
        """The endings as this version of the call writes them."""
        return list(offered)


class OldOptions(Options):
    """`GET /api/v4/alias/options`: the same with pairs for endings; the browser extension uses it."""

    def written(self, offered: list[dict[str, Any]]) -> list[Any]:
        return [[row["suffix"], row["signed_suffix"]] for row in offered]


class CustomAlias(ApiView):
    """`POST /api/v3/alias/custom/new`: a chosen prefix with an offered ending."""

    scope = Scope.CREATE

    def post(self, request: Request) -> Response:
        data = self.fields
        if not data:
            raise BadInput(gettext("The request's body must not be empty."))
        prefix = (text_field(data, "alias_prefix") or "").strip().lower().replace(" ", "")
        if not prefix or len(prefix) > PREFIX_MAX:
            raise BadInput(
                gettext("The alias prefix must have between 1 and %(max)s characters.") % {"max": PREFIX_MAX}
            )
        ending, domain = read_suffix(self.caller, text_field(data, "signed_suffix") or "")
        alias = issue_chosen(
            owner=self.caller,
            made_by_app=True,
            prefix=prefix,
            suffix=ending,
            domain=domain,
            hostname=read_query(request.META.get("QUERY_STRING", "")).get("hostname", ""),
            destinations=self.destinations(data),
            note=text_field(data, "note"),
            name=text_field(data, "name") or "",
        )
        return Response(new_alias_object(alias), status=201)

    def destinations(self, data: dict[str, Any]) -> list[str] | None:
        """Where the alias forwards to."""
        return addresses_of(self.caller, keys_field(data, "mailbox_ids"))


class OldCustomAlias(CustomAlias):
    """`POST /api/v2/alias/custom/new`: the same to the primary address; the browser extension uses it."""

    def destinations(self, data: dict[str, Any]) -> list[str] | None:
        return None
