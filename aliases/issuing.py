"""The two ways in which an alias is made: with a name of ours, or with one that its owner chose."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import IntegrityError, models
from django.utils.translation import gettext

from accounts.addresses import AddressError
from accounts.models import User
from aliases import naming, refusals, taken
from aliases.addresses import bare_host, check_local_part
from aliases.cleaning import clean_destinations, clean_name, clean_note
from aliases.preferences import Choice, choose
from domains.models import Domain

if TYPE_CHECKING:
    from aliases.models import Alias

# Each try is from a wider space than the last, so that a second collision is already a rarity.
NAME_TRIES = 30

Row = TypeVar("Row", bound=models.Model)


# `needs_suffix` as a condition on an alias.
NEEDS_SUFFIX = models.Q(domain__is_shared=True) | ~models.Q(domain__minimum_style=naming.WORDS)


def needs_suffix(domain: Domain) -> bool:
    """Whether a chosen name gets a random ending there: nobody shall take `info@` beside mailboxes, nor
    a name that is easier to guess than the domain allows."""
    return domain.is_shared or domain.minimum_style != naming.WORDS


class IssuingQuerySet(models.QuerySet[Row]):
    """Makes aliases, under every rule."""

    def issue(
        self,
        *,
        owner: User,
        domain: str | None = None,
        hostname: str = "",
        style: str | None = None,
        destinations: Sequence[str] | None = None,
        note: str | None = None,
        name: str = "",
        made_by_app: bool = False,
    ) -> "Alias":
        """Create an alias for `owner` and return it with its destinations loaded.

        `domain`: the one asked for, in any form; None picks the owner's default one (DESIGN, "Which
        domain"). `hostname`: a web site in any form; its label begins the name. `style` overrides the
        owner's preference; the domain's weakest style binds either. `destinations`: verified
        addresses of the owner; None means the primary one. `note`: None means `Website: <host>`.
        `made_by_app`: the owner may want such ones to expire when they are never used.

        Raises the classes of `aliases.refusals`, or RateLimited; then nothing was created. Takes the
        rows of the owner's creation counters for the transaction, so that the creations of one user
        go one after another, and what is counted is exact.
        """
        values = _clean(hostname, note, name, destinations)
        choice = choose(owner, domain)
        style = naming.stronger(style or choice.style, choice.domain.minimum_style)
        names = islice(naming.candidates(hostname, style), NAME_TRIES)
        return self._issue_first(owner, choice, names, made_by_app=made_by_app, **values)

    def issue_chosen(
        self,
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
    ) -> "Alias":
        """Create an alias whose name begins with what the owner chose, and return it as `issue` does.

        `suffix`: the ending that we offered (`.word`, or ""); None: none, or one of ours where the domain
        needs it. Raises as `issue` does; also InvalidValue for a name that no alias may have, AddressTaken
        where it was given out before, and RateLimited after too many of these (`aliases.taken`).
        """
        values = _clean(hostname, note, name, destinations)
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
        return self._issue_first(
            owner,
            choice,
            map(check_name, local_parts),
            made_by_app=made_by_app,
            is_chosen=not is_random,
            **values,
        )

    def _issue_first(
        self,
        owner: User,
        choice: Choice,
        local_parts: Iterable[str],
        *,
        wanted: Sequence[str] | None,
        made_by_app: bool,
        is_chosen: bool = False,
        **values: Any,
    ) -> "Alias":
        """Create the first of these names that was not given out before; `is_chosen`: the owner's one."""
        domain, unused_days = choice.domain, choice.unused_days if made_by_app else None
        for local_part in local_parts:
            alias: Any = self.model(
                address=f"{local_part}@{domain.name}", domain=domain, owner=owner, **values
            )
            try:
                alias._insert(
                    wanted, is_chosen=is_chosen, idle_days=choice.idle_days, unused_days=unused_days
                )
            except refusals.AddressTaken:
                if is_chosen:
                    taken.count_told(owner, alias.address)
                continue
            except IntegrityError as error:
                # PostgreSQL looks at foreign keys when it commits: a destination, or the owner, went
                # away in the same moment.
                raise refusals.DestinationForbidden(
                    gettext("A destination was removed just now. Try again.")
                ) from error
            found: Alias = alias
            return found
        raise refusals.AddressTaken(gettext("This address is taken. Choose another name."))


def _clean(hostname: str, note: str | None, name: str, destinations: Sequence[str] | None) -> dict[str, Any]:
    """What is written on a new alias, as it is stored. Raises InvalidValue, NotAnAddress."""
    host = bare_host(hostname)
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
