"""Finding an alias's contacts, and making them: for mail that comes or goes, or because the owner asks."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from django.conf import settings
from django.db import models, transaction
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from aliases.models import Alias
from aliases.validation import NAME_MAX_CHARACTERS, clean_name, storable
from contacts.addresses import correspondent_address, is_reverse_address, new_reverse_address
from contacts.exceptions import NotACorrespondent
from contacts.models import Contact
from core.addresses import ADDRESS_MAX_OCTETS, AddressError
from core.db.compiled import CompiledQuery
from core.ratelimit import Counter, Limit, count_or_refuse

# Correspondents of one message that become contacts; the others keep their own addresses in it.
PER_MESSAGE = 20
# `Name <address>`, as an owner may write it.
MAILBOX_MAX_CHARACTERS = NAME_MAX_CHARACTERS + ADDRESS_MAX_OCTETS + len('"" <>')
# What a person's new contacts count against: each has CONTACTS_PER_DAY, so that people who are merely
# named in To or Cc cost nobody who writes.
BY_MAIL, BY_AUTHOR, BY_OWNER = "contacts-by-mail", "contacts-by-author", "contacts-by-owner"
TOO_MANY = _("You have added too many contacts for now. Try again in %(hours)s hours.")
_MAILBOX = re.compile(r"\s*(?P<name>[^<>]*?)\s*<(?P<address>[^<>]*)>\s*")


class Correspondent(NamedTuple):
    """A contact, as the mail path needs it."""

    contact_id: int
    alias_id: int
    address: str
    name: str
    is_name_kept: bool
    reverse_address: str
    is_blocked: bool
    is_waiting: bool
    replies: int


Found = dict[str, Correspondent]


@dataclass(frozen=True)
class Wanted:
    """Correspondents of a message of this alias: address, and the name in From if it is an author's.

    `by_owner`: the owner writes to them, so they are known from now on, and count against what the owner may
    add. `waiting`: new ones are strangers, of whom the owner has yet to say that they may write.
    """

    alias_id: int
    named: tuple[tuple[str, str | None], ...]
    by_owner: bool = False
    waiting: bool = False


_FIND = CompiledQuery(
    lambda alias_ids, addresses: Contact.objects.filter(
        alias__id__among=alias_ids, address__among=addresses
    ).values_list(
        "pk",
        "alias_id",
        "address",
        "name",
        "is_name_kept",
        "reverse_address",
        "blocked",
        "waiting",
        "replies",
    ),
    alias_ids=models.BigIntegerField(),
    addresses=models.CharField(),
)
_Key = tuple[int, str]


def find_all(questions: Sequence[tuple[int, str]]) -> dict[tuple[int, str], Correspondent]:
    """The contacts among these pairs of an alias and a correspondent's address, in one statement."""
    alias_ids, addresses = ({each[place] for each in questions} for place in (0, 1))
    rows = map(Correspondent._make, _FIND(alias_ids=list(alias_ids), addresses=list(addresses)))
    asked = set(questions)
    return {key: row for row in rows if (key := (row.alias_id, row.address)) in asked}


def contacts_for_all(every: Sequence[Wanted]) -> list[Found]:
    """The wanted contacts by address in its one form; those that are missing are made, within the limits.

    What is no correspondent's address is left out, and so are new ones beyond PER_MESSAGE, or beyond what a
    person may get in a day: such mail goes on as it came. One statement if all are there, a handful for
    any number that are not.
    """
    asked: dict[_Key, _Asked] = {}
    for wanted in every:
        for address, name in _cleaned(wanted).items():
            asked.setdefault((wanted.alias_id, address), _Asked(name, wanted))
    found = find_all(list(asked)) if asked else {}
    if missing := {key: each for key, each in asked.items() if key not in found}:
        _make(missing)
        found |= find_all(list(missing))
    if admitted := [key for key, row in found.items() if row.is_waiting and asked[key].wanted.by_owner]:
        Contact.objects.filter(pk__in=sorted(found[key].contact_id for key in admitted)).update(waiting=False)
        found |= find_all(admitted)
    return [
        {address: found[key] for address in _cleaned(wanted) if (key := (wanted.alias_id, address)) in found}
        for wanted in every
    ]


@dataclass(frozen=True)
class _Asked:
    name: str | None
    wanted: Wanted

    @property
    def scope(self) -> str:
        if self.wanted.by_owner:
            return BY_OWNER
        return BY_MAIL if self.name is None else BY_AUTHOR


def _cleaned(wanted: Wanted) -> dict[str, str | None]:
    """The names by address in its one form, of the first PER_MESSAGE correspondents."""
    named: dict[str, str | None] = {}
    for text, name in wanted.named:
        try:
            address = correspondent_address(text)
        except AddressError:
            continue
        if not is_reverse_address(address) and not named.get(address):
            named[address] = named.get(address) if name is None else _shortened(name)
    return dict(list(named.items())[:PER_MESSAGE])


def _shortened(name: str) -> str:
    """A stranger's name, as much of it as can be stored."""
    name = storable(name)
    return clean_name(name[:NAME_MAX_CHARACTERS])


@transaction.atomic
def _make(missing: dict[_Key, _Asked]) -> None:
    """Make these contacts, as many as their owners may get, the first ones: a message's author comes before
    others. They are written in the order of their keys: no deadlocks."""
    aliases = {
        alias_id: (owner_id, domain)
        for alias_id, owner_id, domain in Alias.objects.present()
        .filter(pk__in={alias_id for alias_id, _address in missing})
        .values_list("pk", "owner_id", "domain__name")
    }
    by_limit: dict[tuple[str, int], list[_Key]] = defaultdict(list)
    for key in missing:
        if key[0] in aliases:
            by_limit[missing[key].scope, aliases[key[0]][0]].append(key)
    allowed: list[_Key] = []
    for (scope, owner_id), keys in sorted(by_limit.items()):
        (hit,) = Counter.objects.hit((_limit(scope, step=len(keys)), owner_id))
        allowed += keys[: max(0, settings.CONTACTS_PER_DAY - hit.count + len(keys))]
    Contact.objects.bulk_create(
        [
            Contact(
                alias_id=key[0],
                address=key[1],
                name=missing[key].name or "",
                reverse_address=new_reverse_address(aliases[key[0]][1]),
                waiting=missing[key].wanted.waiting,
            )
            for key in sorted(allowed)
        ],
        ignore_conflicts=True,
    )


def _limit(scope: str, step: int = 1) -> Limit:
    return Limit(scope, settings.CONTACTS_PER_DAY, timedelta(days=1), step=step, refusal=TOO_MANY)


def read_mailbox(text: str) -> tuple[str, str]:
    """The address and the name in `Name <address>`, or a bare address; not checked yet."""
    match = _MAILBOX.fullmatch(text)
    return (match["address"], match["name"].strip('"')) if match else (text, "")


def add_contact(alias: Alias, text: str) -> tuple[Contact, bool]:
    """A contact of the alias at the address in `text`, and whether it was there already.

    `text`: an address, or `Name <address>`. One that was there keeps its name; a stranger who was waiting is
    known now. Raises NotACorrespondent, InvalidValue, RateLimited.
    """
    address, name = read_mailbox(text)
    try:
        address = correspondent_address(address)
    except AddressError as error:
        raise NotACorrespondent(gettext("This is not a valid e-mail address.")) from error
    if is_reverse_address(address):
        raise NotACorrespondent(gettext("This is a reverse address. Enter the correspondent's own."))
    if address == alias.address:
        raise NotACorrespondent(gettext("This is the alias itself."))
    name = clean_name(name)
    contact = Contact.objects.of(alias).filter(address=address).first()
    if contact is None:
        with transaction.atomic():
            count_or_refuse((_limit(BY_OWNER), alias.owner_id))
            # Mail may make the same one at this moment.
            contact, is_new = Contact.objects.get_or_create(
                alias=alias,
                address=address,
                defaults={
                    "name": name,
                    "is_name_kept": bool(name),
                    "reverse_address": new_reverse_address(alias.domain.name),
                },
            )
        if is_new:
            return contact, False
    if contact.waiting:
        contact.admit()
    return contact, True
