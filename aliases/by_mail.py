"""Aliases that the first mail to them makes, in a name space that its owner has switched on.

`chances` tells what would become of an address, and writes nothing: that is what a recipient is asked for.
`make` makes the alias when the message has come. A name that was given out before is never made again: the
alias is found first, whatever its state.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import timedelta
from enum import Enum

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from aliases.creation_limits import hold_creations
from aliases.destinations import is_someones
from aliases.exceptions import AddressTaken, DestinationForbidden, QuotaReached
from aliases.issuing import CREATED, LOCK_PATIENCE, NewAlias, insert_free
from aliases.local_parts import check_local_part
from aliases.models import Alias, AliasPreferences, NameSpace, NameSpaceQuerySet
from aliases.models.alias import check_quota
from aliases.models.name_space import suffix_of
from core.addresses import Address, AddressError
from core.db.locks import limit_lock_wait
from core.matching import InvalidPattern
from core.ratelimit import Counter, Limit
from core.sparing_logs import warn_sparingly

logger = logging.getLogger(__name__)


class Chance(Enum):
    """Whether mail to an address that is no alias makes one."""

    YES = "yes"
    # Its name is not one that the owner wants, or that an alias may have; or it is somebody's own address.
    NO = "no"
    # The day's limit is reached, the owner has no address that mail could go to, or a pattern is not accepted
    # any more.
    LATER = "later"


def limit_of(space: NameSpace) -> Limit:
    """How many aliases mail makes there in a day."""
    return Limit("by-mail-day", min(space.per_day, settings.ALIASES_BY_MAIL_PER_DAY), timedelta(days=1))


def chances(addresses: Iterable[Address]) -> dict[Address, Chance]:
    """What would become of mail to each of these addresses, which are no aliases."""
    asked = list(addresses)
    spaces = _spaces_of(asked, NameSpace.objects.making())
    return {address: _chance(address, spaces.get(address)) for address in asked}


def make(address: Address) -> Chance:
    """Make the alias, within the limits, which are exact over all processes. YES if it is there now.

    Raises what the database raises, also if somebody else holds a lock for longer than a moment.
    """
    try:
        made = _make(address)
    except AddressTaken:
        # By an alias of this moment; or by an own address, which then is none.
        return Chance.YES if Alias.objects.filter(address=str(address)).exists() else Chance.NO
    except QuotaReached:
        return Chance.NO
    except DestinationForbidden:
        return Chance.LATER
    if made is Chance.YES:
        CREATED.add("mail")
    return made


@transaction.atomic
def _make(address: Address) -> Chance:
    limit_lock_wait(LOCK_PATIENCE)
    # Others who make one here wait, and so does whoever switches it off.
    held = NameSpace.objects.making().select_for_update(of=("self",), no_key=True)
    space = _spaces_of([address], held).get(address)
    if Alias.objects.filter(address=str(address)).exists():
        raise AddressTaken
    chance = _chance(address, space)
    if space is None or chance is not Chance.YES:
        return chance
    owner = space.owner
    if space.domain.alias_quota is not None:
        # An exact quota: as where a deleted alias is restored.
        hold_creations(owner)
        check_quota(owner, space.domain)
    Counter.objects.hit((limit_of(space), space.pk))
    preferences = getattr(owner, "alias_preferences", None) or AliasPreferences()
    alias = Alias(
        address=str(address),
        domain=space.domain,
        owner=owner,
        hides_replies=preferences.hides_replies,
        made_by_mail=True,
    )
    wanted = space.destinations_for(space.name_in(address.local_part))
    # Not "if it is never used": it is being used.
    new = NewAlias(owner, alias, wanted, False, idle_days=preferences.idle_days, unused_days=None)
    if not insert_free([new]):
        # Undoes the count.
        raise AddressTaken
    return Chance.YES


def _spaces_of(addresses: Sequence[Address], spaces: NameSpaceQuerySet) -> dict[Address, NameSpace]:
    """The name space in which each of the addresses is, in one statement."""
    keys = {address: (address.domain, suffix_of(address.local_part)) for address in addresses}
    domains, suffixes = ({key[place] for key in keys.values()} for place in (0, 1))
    rows = spaces.filter(Q(suffix="") | Q(suffix__in=suffixes), domain__name__in=domains)
    found = {
        (space.domain.name, space.suffix): space
        for space in rows.select_related("domain", "owner__alias_preferences")
    }
    # A domain is given as a whole or by suffixes, never both ways (aliases.spaces).
    return {
        address: space
        for address, key in keys.items()
        if (space := found.get(key) or found.get((address.domain, "")))
    }


def _chance(address: Address, space: NameSpace | None) -> Chance:
    if space is None or not _may_be_name(address.local_part):
        return Chance.NO
    try:
        if not space.name_in(address.local_part):
            return Chance.NO
    except InvalidPattern:
        # Others' addresses may be asked for in the same moment.
        warn_sparingly(logger, "name space %s: its pattern is not accepted any more", space.pk)
        return Chance.LATER
    if is_someones(str(address)):
        return Chance.NO
    try:
        check_quota(space.owner, space.domain)
    except QuotaReached:
        return Chance.NO
    return Chance.LATER if Counter.objects.used_up(limit_of(space), space.pk) else Chance.YES


def _may_be_name(local_part: str) -> bool:
    try:
        check_local_part(local_part)
    except AddressError:
        return False
    return True
