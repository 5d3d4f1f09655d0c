"""The two ways in which an alias is made: with a name of ours, or with one that its owner chose."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import islice
from typing import Any

from allauth.account.models import EmailAddress
from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from aliases import exceptions as refusals
from aliases import naming, taken
from aliases.choosing import Choice, choose
from aliases.creation_limits import CREATE_DAY, CREATE_HOUR
from aliases.destinations import FIELDS, primary_unless_taken, values_of, verified_addresses
from aliases.local_parts import check_local_part
from aliases.models import Alias, AliasDestination, AliasExpiry
from aliases.models.alias import check_quota
from aliases.validation import clean_destinations, clean_name, clean_note
from aliases.websites import parse_site
from core.addresses import AddressError
from core.db.compiled import CompiledInsert, insert_row
from core.db.violations import is_dangling, is_duplicate
from core.ratelimit import Limit, count_or_refuse
from domains.models import Domain

# Each try is from a wider space than the last, so that a second collision is already a rarity.
NAME_TRIES = 30
_ADDRESS = Alias._meta.get_field("address")
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
    go one after another, and what is counted is exact.
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
        alias = Alias(address=f"{local_part}@{domain.name}", domain=domain, owner=owner, **values)
        try:
            _insert(alias, wanted, is_chosen=is_chosen, **days)
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


@transaction.atomic
def _insert(
    alias: Alias,
    wanted: Sequence[str] | None,
    *,
    is_chosen: bool,
    idle_days: int | None,
    unused_days: int | None,
) -> None:
    """Insert the alias, its destinations and its rules of expiry, under every limit.

    Raises AddressTaken, RateLimited, QuotaReached, DestinationForbidden.
    """
    owner = alias.owner
    if owner is None:
        raise ValueError("An alias is created for somebody.")
    count_creation(owner, is_chosen=is_chosen)
    # Before anything tells whether the address is taken.
    check_quota(owner, alias.domain)
    try:
        insert_row(alias)
    except IntegrityError as error:
        if not is_duplicate(error, _ADDRESS):
            raise
        raise refusals.AddressTaken(gettext("This address is taken.")) from error
    # Asked after the insert: whoever adds this address as an own one meanwhile finds the alias.
    if wanted is not None or not _link_to_primary(alias, owner):
        alias.link_to(verified_addresses(owner, wanted, alias.address))
    if idle_days or unused_days:
        AliasExpiry(alias=alias, idle_days=idle_days, unused_days=unused_days).save(force_insert=True)


def _to_primary(alias: Any, **values: Any) -> models.QuerySet[Any, Any]:
    return primary_unless_taken(**values).values_list(alias, "pk")


_LINK_TO_PRIMARY = CompiledInsert(
    AliasDestination,
    ("alias", "address"),
    _to_primary,
    returning="address_id, (SELECT email FROM account_emailaddress WHERE id = address_id)",
    alias=models.BigIntegerField(),
    **FIELDS,
)


def _link_to_primary(alias: Alias, owner: User) -> bool:
    """Link a new alias to its owner's primary address; False if that is not verified, or an own address
    stands in the alias's way."""
    rows = _LINK_TO_PRIMARY(alias=alias.pk, **values_of(owner, alias.address))
    if rows:
        alias.destination_addresses = [
            EmailAddress(pk=key, email=email, user=owner, verified=True, primary=True) for key, email in rows
        ]
    return bool(rows)


def count_creation(owner: User, *, is_chosen: bool = False) -> None:
    """Count one more creation of `owner`, in this transaction. Raises RateLimited (see `count_or_refuse`).

    `is_chosen`: of a name that its owner has thought of, which may tell of somebody else's.
    """
    hour, day = timedelta(hours=1), timedelta(days=1)
    count_or_refuse(
        (Limit(CREATE_HOUR, settings.ALIASES_PER_HOUR, hour, refusal=TOO_MANY), owner.pk),
        (Limit(CREATE_DAY, settings.ALIASES_PER_DAY, day, refusal=TOO_MANY), owner.pk),
        *([taken.budget_of(owner)] if is_chosen else []),
    )
