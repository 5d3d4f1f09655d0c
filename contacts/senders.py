"""What an alias's owner says of a sender who is new to it."""

from collections.abc import Iterable

from django.db import transaction
from django.db.models import Q

from aliases.models import Admits, Alias, SenderAnswer, SenderDomain
from contacts.models import Contact, ContactQuerySet


@transaction.atomic
def answer(sender: SenderDomain, given: SenderAnswer) -> None:
    """Note what the owner says of this sender, and do what that means for the alias.

    Fine and blocked are about this domain alone. With the other two, all that is new to the alias is
    answered: it takes mail only from those known, or none at all.
    """
    alias = sender.alias
    asked = Q(pk=sender.pk)
    if given in {SenderAnswer.ONLY_KNOWN, SenderAnswer.DISABLE}:
        asked |= Q(answer="")
    senders = SenderDomain.objects.filter(asked, alias=alias)
    domains = list(senders.values_list("domain", flat=True))
    senders.update(answer=given)
    match given:
        case SenderAnswer.FINE:
            _contacts_at(alias, domains).waiting_for_owner().update(waiting=False)
        case SenderAnswer.ONLY_KNOWN:
            if alias.admits == Admits.ALL:
                alias.edit(admits=Admits.KNOWN)
            # Not whom the owner has added, or has written to.
            strangers = _contacts_at(alias, domains).admitted().filter(replies=0, forwards__gt=0)
            strangers.update(waiting=True)
        case SenderAnswer.DISABLE:
            alias.disable()


def _contacts_at(alias: Alias, domains: Iterable[str]) -> ContactQuerySet:
    """The alias's contacts at these registrable domains."""
    is_there = Q(pk__in=[])
    for domain in domains:
        is_there |= Q(address__endswith=f"@{domain}") | Q(address__endswith=f".{domain}")
    return Contact.objects.of(alias).filter(is_there)
