"""SimpleLogin's calls to choose a name: a prefix and one of the signed endings that were offered."""

from typing import Any

from django.core.signing import BadSignature, SignatureExpired, TimestampSigner
from django.utils.translation import gettext
from rest_framework.request import Request

from accounts.models import User
from aliases.choosing import choose_domain
from aliases.issuing import issue_chosen, needs_suffix
from aliases.models import Alias
from aliases.naming import endings, site_label
from aliases.websites import parse_site
from api.answers import Answer
from api.schema import Call
from api.simplelogin import objects
from api.simplelogin.aliases import addresses_of
from api.simplelogin.inputs import HOSTNAME, ChosenName, NewCustomAlias
from api.views import ApiView
from core.exceptions import RuleError
from domains.models import Domain
from tokens.scopes import Scope

# Seconds for which an offered ending can be used, as at SimpleLogin.
SUFFIX_VALID = 600
REFUSES = (403, 404, 409, 412)


class SuffixExpired(RuleError, code="suffix_expired", status=412):
    """An ending was not offered to this user, or too long ago."""


def _signer(user: User) -> TimestampSigner:
    """Signs endings for this user alone."""
    return TimestampSigner(salt=f"aliases.api.suffix:{user.pk}")


def suffixes(user: User) -> list[objects.SuffixObject]:
    """The endings that are offered: of the domain on which random names are made first, else by name.

    On a domain where a chosen name needs no random part, the bare domain is offered too, first.
    """
    domains = list(Domain.objects.usable_by(user).order_by("name"))
    if domains:
        first, _style = choose_domain(user)
        domains.sort(key=lambda domain: domain != first)
    signer, offered = _signer(user), []
    for domain in domains:
        texts = [f"{next(endings(domain.minimum_style))}@{domain.name}"]
        is_custom = not needs_suffix(domain)
        if is_custom:
            texts.insert(0, f"@{domain.name}")
        offered += [objects.suffix_object(text, signer.sign(text), is_custom=is_custom) for text in texts]
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


class OptionsView(ApiView):
    """What a custom alias may look like."""

    scope = Scope.CREATE

    def options_for(self, offered: list[objects.SuffixObject]) -> objects.BaseOptions:
        """All but the endings that are offered."""
        site = parse_site(self.query.get("hostname", ""))
        answer: objects.BaseOptions = {"can_create": bool(offered), "prefix_suggestion": site_label(site)}
        made = Alias.objects.owned_by(self.caller).present().filter(hostname=site.host)
        if site.host and (alias := made.order_by("-created", "-pk").first()):
            answer["recommendation"] = {"alias": alias.address, "hostname": alias.hostname}
        return answer


class Options(OptionsView):
    @Call(
        "The endings that a chosen name may have, signed for ten minutes",
        objects.OptionsObject,
        parameters=[HOSTNAME],
    )
    def get(self, request: Request) -> Answer:
        offered = suffixes(self.caller)
        answer: objects.OptionsObject = {**self.options_for(offered), "suffixes": offered}
        return Answer(answer)


class OldOptions(OptionsView):
    """The options in the version that the browser extension uses."""

    @Call("The same, with each ending as a pair", objects.OldOptionsObject, parameters=[HOSTNAME])
    def get(self, request: Request) -> Answer:
        offered = suffixes(self.caller)
        pairs = [[row["suffix"], row["signed_suffix"]] for row in offered]
        answer: objects.OldOptionsObject = {**self.options_for(offered), "suffixes": pairs}
        return Answer(answer)


class CustomAliasView(ApiView):
    """A chosen prefix with an offered ending."""

    scope = Scope.CREATE

    def make(self, data: dict[str, Any]) -> Answer:
        """Make the alias that the body asks for; it forwards to the primary address without `mailbox_ids`."""
        ending, domain = read_suffix(self.caller, data["signed_suffix"] or "")
        destinations = None
        if "mailbox_ids" in data:
            destinations = addresses_of(self.caller, data["mailbox_ids"])
        alias = issue_chosen(
            owner=self.caller,
            made_by_app=True,
            prefix=data["alias_prefix"],
            suffix=ending,
            domain=domain,
            hostname=self.query.get("hostname", ""),
            destinations=destinations,
            note=data["note"],
            name=data["name"] or "",
        )
        return Answer(objects.new_alias_object(alias), status=201)


class CustomAlias(CustomAliasView):
    @Call(
        "Make an alias with a chosen name",
        objects.NewAliasObject,
        201,
        takes=NewCustomAlias,
        parameters=[HOSTNAME],
        refuses=REFUSES,
    )
    def post(self, request: Request) -> Answer:
        return self.make(NewCustomAlias.read(self.fields))


class OldCustomAlias(CustomAliasView):
    """A new alias that forwards to the primary address; the browser extension uses it."""

    @Call(
        "Make an alias with a chosen name that forwards to the primary address",
        objects.NewAliasObject,
        201,
        takes=ChosenName,
        parameters=[HOSTNAME],
        refuses=REFUSES,
    )
    def post(self, request: Request) -> Answer:
        return self.make(ChosenName.read(self.fields))
