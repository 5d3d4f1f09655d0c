"""Which aliases a list shows, and in what order."""

from functools import cache
from typing import Any

from allauth.account.models import EmailAddress
from django import forms
from django.db import models
from django.db.models import F, OuterRef, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, QueryDict
from django.utils.formats import number_format
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from accounts.requests import user_of
from aliases.models import Alias, AliasQuerySet
from aliases.models.alias_queryset import SEARCH_MAX_CHARACTERS
from core.addresses import domain_to_unicode
from core.db.compiled import CompiledQuery
from core.db.json import JsonObject
from core.forms import PlainSelect
from domains.models import Domain

# Each with its opposite: an index that serves one is read backwards for the other.
ORDERS: dict[str, tuple[str, ...]] = {
    "": ("-pinned", "-active_at", "-id"),
    "quiet": ("pinned", "active_at", "id"),
    "newest": ("-created", "-id"),
    "oldest": ("created", "id"),
    "address": ("address",),
    "address-z": ("-address",),
    "forwards": ("-forwards", "-id"),
    "forwards-least": ("forwards", "id"),
    "blocks": ("-blocks", "-id"),
    "blocks-least": ("blocks", "id"),
}
FILTERS = ("q", "domain", "mailbox", "status")
# Of more aliases, a list says no more than that: to count a million takes a tenth of a second.
COUNTED_MAX = 25_000


class FilterForm(forms.Form):
    """Filters and order of the list. An invalid value counts as none."""

    STATUSES = (
        ("", _("Any status")),
        ("active", _("Active")),
        ("disabled", _("Disabled")),
        ("pinned", _("Pinned")),
        ("unused", _("Never used")),
        ("ending", _("Expiring soon")),
        ("senders", _("New senders")),
        ("mail", _("Made by mail")),
    )
    ORDERS = (
        ("", _("Recent activity")),
        ("quiet", _("Longest quiet")),
        ("newest", _("Newest")),
        ("oldest", _("Oldest")),
        ("address", _("Address, A to Z")),
        ("address-z", _("Address, Z to A")),
        ("forwards", _("Most forwarded")),
        ("forwards-least", _("Least forwarded")),
        ("blocks", _("Most blocked")),
        ("blocks-least", _("Least blocked")),
    )

    q = forms.CharField(
        label=_("Search"),
        required=False,
        max_length=SEARCH_MAX_CHARACTERS,
        widget=forms.SearchInput(
            attrs={
                "autocomplete": "off",
                "placeholder": _("Address, note or website"),
                "aria-keyshortcuts": "/",
            }
        ),
    )
    domain = forms.ChoiceField(label=_("Domain"), required=False, widget=PlainSelect)
    mailbox = forms.ChoiceField(label=_("Mailbox"), required=False, widget=PlainSelect)
    status = forms.ChoiceField(label=_("Status"), required=False, choices=STATUSES, widget=PlainSelect)
    order = forms.ChoiceField(label=_("Order"), required=False, choices=ORDERS, widget=PlainSelect)

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fields: Any = self.fields

        # Read when they are needed, and once.
        @cache
        def domains() -> list[tuple[object, object]]:
            names = [(key, domain_to_unicode(name)) for key, name in _DOMAINS(owner=user.pk)]
            return [("", _("All domains")), *names]

        @cache
        def mailboxes() -> list[tuple[object, object]]:
            return [("", _("All mailboxes")), *_MAILBOXES(owner=user.pk)]

        fields["domain"].choices, fields["mailbox"].choices = domains, mailboxes


def _domains(owner: Any) -> Any:
    """The keys and names of domains on which the owner has aliases, also where they can create none any
    more."""
    # For each domain, the owner's first one from it on, in an index: they may have a million aliases. For
    # Exists, PostgreSQL looks through all of them.
    following = Alias.objects.owned_by(owner).present().filter(domain__gte=OuterRef("pk")).order_by("domain")
    domains = Domain.objects.filter(pk=Subquery(following.values("domain")[:1]))
    return domains.values_list("pk", "name")


def _mailboxes(owner: Any) -> Any:
    return EmailAddress.objects.filter(user=owner, verified=True).values_list("pk", "email")


_DOMAINS = CompiledQuery(_domains, owner=models.BigIntegerField())
_MAILBOXES = CompiledQuery(_mailboxes, owner=models.BigIntegerField())


def mine(request: HttpRequest) -> AliasQuerySet:
    """The reader's aliases, with what a row shows of related objects."""
    return rows_of(user_of(request)).select_related("domain").with_destinations()


def rows_of(owner: Any) -> AliasQuerySet:
    """An owner's aliases, with what a row shows of related objects but for the destinations."""
    aliases = Alias.objects.owned_by(owner).noting_new_senders()
    return with_last_sender(aliases.select_related("expiry"))


def with_last_sender(aliases: AliasQuerySet) -> AliasQuerySet:
    """The same aliases, each with its `last_sender`: the address, and the key and switch of the contact that
    it may be; or None."""
    # By its relation's name, because this app can import neither mail nor contacts.
    activities: Any = Alias._meta.get_field("activities").related_model
    received = activities.objects.filter(alias=OuterRef("pk")).exclude(sender="").order_by("-moment", "-pk")
    shown = JsonObject(
        address=Coalesce("contact__address", "sender"),
        contact=F("contact"),
        is_blocked=F("contact__blocked"),
    )
    return aliases.annotate(last_sender=Subquery(received.values(shown=shown)[:1]))


def selected(request: HttpRequest, form: FilterForm) -> tuple[AliasQuerySet, tuple[str, ...]]:
    """The reader's aliases that the filters select, and the order to show them in."""
    aliases = mine(request).present()
    # An invalid value counts as none, and the others stay.
    form.is_valid()
    data = form.cleaned_data
    aliases = aliases.search(data.get("q") or "")
    if domain := data.get("domain"):
        aliases = aliases.filter(domain=domain)
    if mailbox := data.get("mailbox"):
        aliases = aliases.filter(destination_links__address=mailbox)
    match data.get("status"):
        case "active":
            aliases = aliases.filter(enabled=True)
        case "disabled":
            aliases = aliases.filter(enabled=False)
        case "pinned":
            aliases = aliases.filter(pinned=True)
        case "unused":
            aliases = aliases.never_used()
        case "ending":
            aliases = aliases.ending_soon()
        case "senders":
            aliases = aliases.with_new_senders()
        case "mail":
            aliases = aliases.filter(made_by_mail=True)
    return aliases, ORDERS[data.get("order") or ""]


def is_filtered(query: QueryDict) -> bool:
    """Whether a filter is set."""
    return any(query.get(name) for name in FILTERS)


def filters_of(query: QueryDict) -> str:
    """The query string for the first page with the same filters."""
    kept = query.copy()
    for name in ("cursor", "rows"):
        kept.pop(name, None)
    return kept.urlencode()


def count_of(aliases: AliasQuerySet) -> dict[str, Any]:
    """How many aliases a list finds, as its templates show it."""
    return count_shown(aliases.order_by().values("pk")[: COUNTED_MAX + 1].count())


def count_shown(found: int) -> dict[str, Any]:
    """A number of aliases as the list's templates show it: `found`, which ends at one more than COUNTED_MAX,
    its `number` as text, and the words `found_said`."""
    number = number_format(min(found, COUNTED_MAX), force_grouping=True)
    if found > COUNTED_MAX:
        said = gettext("more than %(number)s aliases") % {"number": number}
        return {"found": found, "number": f"> {number}", "found_said": said}
    said = ngettext("%(number)s alias", "%(number)s aliases", found) % {"number": number}
    return {"found": found, "number": number, "found_said": said}


def listed(request: HttpRequest) -> AliasQuerySet:
    """The aliases of the list that a form with the field `back` belongs to."""
    form = FilterForm(query_back(request), user=user_of(request))
    return selected(request, form)[0]


def query_back(request: HttpRequest) -> QueryDict:
    """The query of the list that the reader comes from."""
    return QueryDict((request.POST or request.GET).get("back", "")[:4000])
