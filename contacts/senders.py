"""What an alias's owner says of a sender who is new to it."""

from collections.abc import Callable

from django.db import transaction
from django.db.models import Q

from aliases.models import Admits, SenderAnswer, SenderDomain
from contacts.models import Contact, ContactQuerySet
from core.batches import batches
from core.public_suffixes import registrable_domain

BATCH = 1000


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
    # Those of this moment: whoever is noted meanwhile has no answer yet.
    held = SenderDomain.objects.select_for_update(no_key=True).filter(asked, alias=alias).order_by("pk")
    domains = dict(held.values_list("pk", "domain"))
    SenderDomain.objects.filter(pk__in=domains).update(answer=given)
    answered = set(domains.values())
    contacts = Contact.objects.of(alias)
    match given:
        case SenderAnswer.FINE:
            _set_waiting(contacts.waiting_for_owner(), False, answered.__contains__)
        case SenderAnswer.ONLY_KNOWN:
            took_all = alias.admits == Admits.ALL
            if took_all:
                alias.edit(admits=Admits.KNOWN)
            fine = alias.sender_domains.filter(answer=SenderAnswer.FINE)
            known = {*fine.values_list("domain", flat=True), *filter(None, [alias.site])}
            # Not whom the owner has added, or has written to.
            _set_waiting(
                contacts.admitted().filter(replies=0, forwards__gt=0),
                True,
                # Somebody may have written whom nobody could name, or when too many were marked.
                lambda domain: domain in answered or (took_all and domain not in known),
            )
        case SenderAnswer.DISABLE:
            alias.disable()


def _set_waiting(contacts: ContactQuerySet, waiting: bool, is_meant: Callable[[str], bool]) -> None:
    """Let those of the contacts wait, or wait no longer, whose registrable domain is meant."""
    keys = [
        key
        for key, address in contacts.values_list("pk", "address")
        if is_meant(registrable_domain(address.rpartition("@")[2]))
    ]
    for batch in batches(sorted(keys), BATCH):
        contacts.filter(pk__in=Contact.objects.hold(batch)).update(waiting=waiting)
