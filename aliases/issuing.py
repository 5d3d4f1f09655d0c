"""The two ways in which a person makes an alias: with a name of ours, or with a chosen one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from itertools import islice
from typing import Any

from django.conf import settings
from django.db import (
    IntegrityError,
    connection,
    models,
    transaction,
)
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from aliases import exceptions as refusals
from aliases import naming, taken
from aliases.choosing import Choice, choose
from aliases.creation_limits import CREATE_DAY, CREATE_HOUR
from aliases.destinations import verified_addresses
from aliases.linking import link_to_primary, linking_to_primary
from aliases.local_parts import check_local_part
from aliases.models import Alias, AliasExpiry
from aliases.models.alias import check_quota
from aliases.models.name_space import owner_by_suffix
from aliases.telling import tell_of
from aliases.validation import clean_destinations, clean_name, clean_note
from aliases.websites import parse_site
from core.addresses import AddressError
from core.batch_writer import BatchWriter
from core.db.availability import is_unavailable
from core.db.changes import inserting_unless_present
from core.db.connecting import give_connection_back
from core.db.instances import new_instance
from core.db.locks import has_waited_in_vain, lock_wait_limited, write_turn
from core.db.own_rows import knows_own_rows
from core.db.together import Statement, run_together
from core.db.violations import is_dangling
from core.exceptions import RateLimited
from core.lately import Lately
from core.ratelimit import Counter, Limit, counting
from core.tallies import Count
from domains.models import Domain
from hooks.models import HookEvent, is_heard_sql

# Each try is from a wider space than the last, so that a second collision is already a rarity.
NAME_TRIES = 30
# What creations that are written together wait for another transaction's locks: longer than commits take.
# After that, each waits alone.
LOCK_PATIENCE = timedelta(milliseconds=200)
# For how long creations wait for the others that are underway: half of what one takes that comes alone.
GATHERING = timedelta(milliseconds=3)
# Owners who were over a limit. Each try would leave dead rows in the tables if it were undone.
REFUSED_FOR = timedelta(minutes=1)
_refused = Lately(REFUSED_FOR)
_ADDRESS = Alias._meta.get_field("address")
# What creations write of an alias, besides what is another one each time. `insert_free` inserts any.
_GIVEN = ("address", "domain_id", "owner_id", "note", "name", "hostname", "hides_replies")
CREATED = Count("aliases_created", "Aliases that were created, by apps, people, imports and mail", "by")
TOO_MANY = _("You have created too many aliases for now. Try again in %(minutes)s minutes.")

# `needs_suffix` as a condition on an alias.
NEEDS_SUFFIX = models.Q(domain__is_shared=True) | ~models.Q(domain__minimum_style=naming.WORDS)


def needs_suffix(domain: Domain) -> bool:
    """Whether a chosen name gets a random ending there, so that nobody takes `info@` beside mailboxes, or a
    name that is easier to guess than the domain allows."""
    return domain.is_shared or domain.minimum_style != naming.WORDS


def issue(
    *,
    owner: User,
    domain: str | None = None,
    hostname: str = "",
    style: str | None = None,
    destinations: Sequence[str] | None = None,
    note: str | None = None,
    name: str = "",
    made_by_app: bool = False,
) -> Alias:
    """Create an alias for `owner` and return it with its destinations loaded.

    `domain`: the one asked for, in any form; None picks the owner's default one (see
    `choose`). `hostname`: a web site in any form; its label begins the name. `style` overrides the
    owner's preference; the domain's weakest style binds either. `destinations`: verified
    addresses of the owner; None means the primary one. `note`: None means `Website: <host>`.
    `made_by_app`: the owner may want such ones to expire when they are never used.

    Raises the classes of `aliases.exceptions`, or RateLimited; then nothing was created. Takes the
    rows of the owner's creation counters for the transaction, so that the creations of one user
    go one after another, and what is counted is exact. What other threads create at the same moment
    is written in the same transaction.
    """
    site = parse_site(hostname)
    values = _clean(hostname, site.host, note, name, destinations)
    choice = choose(owner, domain)
    style = naming.stronger(style or choice.preferences.style, choice.domain.minimum_style)
    names = islice(naming.candidates(site, style), NAME_TRIES)
    return _issue_first(owner, choice, names, made_by_app=made_by_app, **values)


def issue_chosen(
    *,
    owner: User,
    prefix: str,
    suffix: str | None = None,
    domain: str | None = None,
    hostname: str = "",
    destinations: Sequence[str] | None = None,
    note: str | None = None,
    name: str = "",
    made_by_app: bool = False,
) -> Alias:
    """Create an alias whose name begins with what the owner chose, and return it as `issue` does.

    `suffix`: the ending that we offered (`.word`, or ""); None: none, or one of ours where the domain
    needs it. Raises as `issue` does; also InvalidValue for a name that no alias may have, AddressTaken
    where it was given out before, and RateLimited after too many of these (`aliases.taken`).
    """
    values = _clean(hostname, parse_site(hostname).host, note, name, destinations)
    choice = choose(owner, domain)
    chosen = choice.domain
    is_random = needs_suffix(chosen) and not suffix
    if is_random:
        if suffix == "":
            raise refusals.InvalidValue(gettext("On this domain a name needs a random ending."))
        names = islice(naming.endings(chosen.minimum_style), NAME_TRIES)
        local_parts: Iterable[str] = [f"{prefix}{ending}" for ending in names]
    else:
        local_parts = [f"{prefix}{suffix or ''}"]
    return _issue_first(
        owner,
        choice,
        map(check_name, local_parts),
        made_by_app=made_by_app,
        is_chosen=not is_random,
        **values,
    )


def _issue_first(
    owner: User,
    choice: Choice,
    local_parts: Iterable[str],
    *,
    wanted: Sequence[str] | None,
    made_by_app: bool,
    is_chosen: bool = False,
    **values: Any,
) -> Alias:
    """Create the first of these names that was not given out before; `is_chosen`: the owner's one."""
    domain, preferences = choice.domain, choice.preferences
    days = {
        "idle_days": preferences.idle_days,
        "unused_days": preferences.unused_days if made_by_app else None,
    }
    for local_part in local_parts:
        if owner_by_suffix(domain, local_part) not in (None, owner.pk):
            if is_chosen:
                taken.count_revealed(owner, f"{local_part}@{domain.name}")
            continue
        alias = new_instance(
            Alias,
            address=f"{local_part}@{domain.name}",
            domain=domain,
            owner=owner,
            hides_replies=preferences.hides_replies,
            **values,
        )
        try:
            _insert(NewAlias(owner, alias, wanted, is_chosen, **days))
        except refusals.AddressTaken:
            if is_chosen:
                taken.count_revealed(owner, alias.address)
            continue
        except IntegrityError as error:
            if not is_dangling(error):
                raise
            # PostgreSQL looks at foreign keys when it commits: a destination, or the owner, went
            # away in the same moment.
            raise refusals.DestinationForbidden(
                gettext("A destination was removed just now. Try again.")
            ) from error
        CREATED.add("app" if made_by_app else "person")
        return alias
    raise refusals.AddressTaken(gettext("This address is taken. Choose another name."))


def _clean(
    hostname: str, host: str, note: str | None, name: str, destinations: Sequence[str] | None
) -> dict[str, Any]:
    """What is written on a new alias, as it is stored. Raises InvalidValue, NotAnAddress."""
    return {
        "note": clean_note(f"Website: {host}" if note is None and host else note or "", hostname),
        "name": clean_name(name),
        "wanted": None if destinations is None else clean_destinations(destinations),
        "hostname": host,
    }


def check_name(local_part: str) -> str:
    """The name, if an alias may have it. Raises InvalidValue."""
    try:
        check_local_part(local_part)
    except AddressError as error:
        raise refusals.InvalidValue(
            gettext(
                "A name consists of lower-case letters and digits, with single dots, hyphens or underscores "
                "between them. It has at most 64 characters, and is no reserved one."
            )
        ) from error
    return local_part


@dataclass
class NewAlias:
    """An alias to insert, with its destinations and its rules of expiry."""

    owner: User
    alias: Alias
    wanted: Sequence[str] | None
    is_chosen: bool
    idle_days: int | None
    unused_days: int | None
    is_taken: bool = field(default=False, init=False)


def _insert(new: NewAlias) -> None:
    """Insert the alias, together with those of other threads that wait; alone in a caller's transaction.

    Raises AddressTaken, RateLimited, QuotaReached, DestinationForbidden.
    """
    if connection.in_atomic_block:
        insert_all([new])
    elif new.owner.pk in _refused:
        # What others insert with it would be undone.
        _insert_in_turn([new])
    else:
        _inserter.write(new)
    if new.is_taken:
        raise _taken()


@transaction.atomic
def insert_all(every: Sequence[NewAlias]) -> None:
    """Insert the aliases, of an owner each, under every limit, or raise what `_insert` does for one of them.

    If the addresses of some were given out before, these say so and count for nothing. Rows are locked in
    a fixed order: no deadlocks.
    """
    first = [*(lock_wait_limited(LOCK_PATIENCE) if len(every) > 1 else ()), _counting_creations(every)]
    try:
        is_any_new = _insert_behind(first, every) if _may_be_undone(every) else _insert_after(first, every)
    except RateLimited:
        if len(every) == 1:
            _refused.note(every[0].owner.pk)
        raise
    if not is_any_new:
        raise _taken()
    if any(new.is_taken for new in every):
        Counter.objects.give_back(*(pair for new in every if new.is_taken for pair in _limits(new.owner)))


def _may_be_undone(every: Sequence[NewAlias]) -> bool:
    """Whether the aliases can be inserted, and linked, before anybody has looked at what was counted: that is
    undone if one of them is refused."""
    return knows_own_rows() and all(
        new.wanted is None and new.alias.domain.alias_quota is None and new.owner.pk not in _refused
        for new in every
    )


def _insert_behind(first: Sequence[Statement[None]], every: Sequence[NewAlias]) -> bool:
    """`insert_free` together with what comes first."""
    aliases = _by_address(every)
    *_first, heard, linked = run_together(*first, _inserting(aliases), linking_to_primary(aliases))
    return _complete(every, heard, linked)


def _insert_after(first: Sequence[Statement[None]], every: Sequence[NewAlias]) -> bool:
    """`insert_free` when what comes first has refused none."""
    for statement in first:
        statement.run()
    # Before anything tells whether the address is taken.
    for new in every:
        check_quota(new.owner, new.alias.domain)
    return insert_free(every)


def insert_free(every: Sequence[NewAlias]) -> bool:
    """Insert those aliases whose addresses were not given out before, in the caller's transaction, under no
    limit; whether there are any. The others say so.

    Raises AddressTaken for an own address of somebody's, DestinationForbidden.
    """
    aliases = _by_address(every)
    heard = _inserting(aliases).run()
    others = {new.alias.address for new in every if new.wanted is not None}
    # Asked after the insert: whoever adds this address as an own one meanwhile finds the alias.
    linked = link_to_primary([alias for alias in aliases if alias.pk and alias.address not in others])
    return _complete(every, heard, linked)


def _by_address(every: Sequence[NewAlias]) -> list[Alias]:
    return sorted((new.alias for new in every), key=lambda alias: alias.address)


def _inserting(aliases: Sequence[Alias]) -> Statement[list[Any]]:
    """Inserts those whose addresses were not given out before; comes to those of which somebody hears."""
    also = is_heard_sql(f'"{Alias._meta.db_table}"."owner_id"')
    return inserting_unless_present(aliases, _ADDRESS, also=also, given=_GIVEN)


def _complete(every: Sequence[NewAlias], heard: Sequence[Alias], linked: set[int]) -> bool:
    """Add what is missing of the aliases that were inserted, and tell of them; whether there are any."""
    inserted = [new for new in every if new.alias.pk]
    for new in every:
        new.is_taken = new.alias.pk is None
    for new in inserted:
        if new.alias.pk not in linked:
            new.alias.link_to(verified_addresses(new.owner, new.wanted, new.alias.address))
        if new.idle_days or new.unused_days:
            AliasExpiry(alias=new.alias, idle_days=new.idle_days, unused_days=new.unused_days).save(
                force_insert=True
            )
    if heard:
        tell_of(HookEvent.ALIAS_CREATED, [new.alias for new in inserted if new.alias in heard])
    return bool(inserted)


def _insert_in_turn(every: Sequence[NewAlias]) -> None:
    """`insert_all`, as the next of all processes that create."""
    with write_turn():
        insert_all(every)


def _is_common(error: Exception) -> bool:
    """Whether the database is away for all, or nobody knows whether it has committed."""
    return is_unavailable(error) and not has_waited_in_vain(error)


# A transaction for one waits for locks without a limit, as an import may hold its owner's counters.
_inserter = BatchWriter(
    _insert_in_turn,
    is_common=_is_common,
    key=lambda new: new.owner.pk,
    patience=LOCK_PATIENCE,
    gathering=GATHERING,
    before_waiting=give_connection_back,
)


def _taken() -> refusals.AddressTaken:
    return refusals.AddressTaken(gettext("This address is taken."))


def _counting_creations(every: Sequence[NewAlias]) -> Statement[None]:
    """Counts the creations of these aliases' owners.

    Raises RateLimited (see `count_or_refuse`); also for a name that its owner has thought of, which may tell
    of somebody else's, after too many of these.
    """
    return counting(
        *(pair for new in every for pair in _limits(new.owner)),
        *(taken.budget_of(new.owner) for new in every if new.is_chosen),
    )


def _limits(owner: User) -> list[tuple[Limit, object]]:
    limits = _limits_of(settings.ALIASES_PER_HOUR, settings.ALIASES_PER_DAY)
    return [(limit, owner.pk) for limit in limits]


@lru_cache
def _limits_of(per_hour: int, per_day: int) -> tuple[Limit, Limit]:
    hour, day = timedelta(hours=1), timedelta(days=1)
    return (
        Limit(CREATE_HOUR, per_hour, hour, refusal=TOO_MANY),
        Limit(CREATE_DAY, per_day, day, refusal=TOO_MANY),
    )
