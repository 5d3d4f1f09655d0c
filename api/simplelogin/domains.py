"""SimpleLogin's calls about domains: those that the caller may use, and the catch-all of the caller's own."""

from typing import Any

from allauth.account.models import EmailAddress
from django.db.models import Count, Exists, OuterRef, Q
from django.utils.translation import gettext
from rest_framework.request import Request

from accounts.models import User
from aliases.models import Alias, NameSpace
from aliases.spaces import switch_by_app
from api.answers import Answer
from api.errors import NotOffered
from api.schema import Call
from api.simplelogin import objects
from api.simplelogin.inputs import DomainChanges
from api.views import ApiView
from domains.models import Domain
from tokens.scopes import Scope


def usable_domains(user: User) -> list[Domain]:
    """The domains on which the user may create, by name."""
    return list(Domain.objects.usable_by(user).order_by("name"))


class SettingDomains(ApiView):
    scope = Scope.CREATE

    @Call("The domains for random aliases", list[objects.SettingDomainObject])
    def get(self, request: Request) -> Answer:
        return Answer([objects.setting_domain_object(domain) for domain in usable_domains(self.caller)])


class OldSettingDomains(ApiView):
    """The same as pairs of "is the service's own" and the name."""

    scope = Scope.CREATE

    @Call("The domains for random aliases, as pairs", list[list[Any]], example=[[True, "example.com"]])
    def get(self, request: Request) -> Answer:
        return Answer([[True, domain.name] for domain in usable_domains(self.caller)])


class DomainView(ApiView):
    """Domains as SimpleLogin shows custom ones."""

    def rows(self, which: Q) -> list[objects.CustomDomainObject]:
        """Those on which the caller may create, or of which they have all names, by name."""
        own = NameSpace.objects.owned_by(self.caller).of_whole_domains().filter(domain=OuterRef("pk"))
        usable = Domain.objects.usable_by(self.caller).values("pk")
        domains = Domain.objects.filter(which, Q(pk__in=usable) | Exists(own)).order_by("name")
        found: list[Any] = list(domains.annotate(catch_all=Exists(own.making())))
        mine = Alias.objects.owned_by(self.caller).present().filter(domain__in=found).order_by()
        counts = dict(mine.values_list("domain").annotate(number=Count("pk")))
        primary = EmailAddress.objects.filter(user=self.caller, primary=True)
        mailboxes = [objects.mailbox_object(address) for address in primary]
        return [
            objects.custom_domain_object(
                domain, counts.get(domain.pk, 0), mailboxes, catch_all=domain.catch_all
            )
            for domain in found
        ]


class CustomDomains(DomainView):
    scope = Scope.CREATE

    @Call("The domains that you may use", {"custom_domains": list[objects.CustomDomainObject]})
    def get(self, request: Request) -> Answer:
        return Answer({"custom_domains": self.rows(Q())})


class CustomDomain(DomainView):
    """A domain of which the caller has all names (aliases.spaces)."""

    scope = Scope.MANAGE

    @Call(
        "Switch the catch-all of a domain that is yours as a whole on or off; nothing else can be changed",
        {"custom_domain": objects.CustomDomainObject},
        takes=DomainChanges,
        refuses=(403,),
    )
    def patch(self, request: Request, key: int) -> Answer:
        wanted = DomainChanges.read(self.fields).get("catch_all")
        mine = NameSpace.objects.owned_by(self.caller).of_whole_domains().noting_pauses()
        space = mine.filter(domain=key).select_related("domain").first()
        if space is None or wanted is None:
            raise NotOffered(gettext("The domains belong to this server: only its admin can change them."))
        switch_by_app(space, wanted)
        return Answer({"custom_domain": self.rows(Q(pk=key))[0]})
