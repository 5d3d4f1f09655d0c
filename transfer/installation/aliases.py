"""Creates aliases, contacts and senders in batches: an installation may have a million."""

from collections.abc import Sequence

from allauth.account.models import EmailAddress

from accounts.models import AddressChange
from aliases.local_parts import check_local_part, resolved_form
from aliases.models import Alias, AliasDestination, AliasExpiry, SenderDomain
from aliases.validation import clean_name, clean_note
from aliases.websites import bare_host
from contacts.addresses import correspondent_address, looks_like_reverse
from contacts.models import Contact
from core.addresses import domain_to_ascii, parse_address
from core.batches import batches
from domains.models import Domain
from transfer.installation.document import BATCH, Row
from transfer.installation.reading import Reading, text_of


def create_aliases(reading: Reading, rows: list[tuple[str, Row]]) -> None:
    """Insert the aliases with where their mail goes."""
    # Own addresses as mail to them is looked up: one with a tag stands in an alias's way too.
    receiving = {resolved_form(address.email) for address in reading.own.values() if address.verified}
    receiving |= set(AddressChange.objects.exclude(held_as="").values_list("held_as", flat=True))
    for start in range(0, len(rows), BATCH):
        made: list[tuple[str, Alias, AliasExpiry | None, list[EmailAddress]]] = []
        for place, row in rows[start : start + BATCH]:
            with reading.reporting(place):
                made.append((place, *_alias(reading, row)))
        addresses = [alias.address for _place, alias, *_others in made]
        taken = set(Alias.objects.filter(address__in=addresses).values_list("address", flat=True))
        taken |= receiving & set(addresses)
        named = Alias.objects.filter(uuid__in=[alias.uuid for _place, alias, *_others in made])
        ids = set(named.values_list("uuid", flat=True))
        for place, alias, *_others in made:
            if alias.address in taken:
                reading.problems.append(f"{place}: the address {alias.address} is taken.")
            if alias.uuid in ids:
                reading.problems.append(f"{place}: the uuid {alias.uuid} is taken.")
            taken.add(alias.address)
            ids.add(alias.uuid)
        if reading.problems:
            continue
        Alias.objects.bulk_create(alias for _place, alias, *_others in made)
        AliasExpiry.objects.bulk_create(expiry for *_others, expiry, _links in made if expiry)
        AliasDestination.objects.bulk_create(
            AliasDestination(alias=alias, address=address)
            for _place, alias, _expiry, links in made
            for address in links
        )


def _alias(reading: Reading, row: Row) -> tuple[Alias, AliasExpiry | None, list[EmailAddress]]:
    parsed = parse_address(text_of(row, "address"))
    check_local_part(parsed.local_part)
    alias = reading.read(
        Alias,
        row,
        address=str(parsed),
        domain=reading.one(Domain, parsed.domain),
        note=clean_note(row.get("note", "")),
        name=clean_name(row.get("name", "")),
        hostname=bare_host(row.get("hostname", "")),
    )
    owner = alias.owner
    if owner is None and alias.deleted_at is None:
        raise ValueError("an alias without an owner must be a deleted one")
    # What is known to be there, and what the batch looks up at once, need no query for each row.
    unasked = {"validate_unique": False, "validate_constraints": False}
    alias.full_clean(exclude=["owner", "domain"], **unasked)
    expiry = reading.read(AliasExpiry, row["expiry"], alias=alias) if row.get("expiry") else None
    if expiry:
        expiry.full_clean(exclude=["alias"], **unasked)
    links = []
    for email in dict.fromkeys(row.get("destinations", [])):
        link = reading.own.get((owner.pk, email)) if owner else None
        if link is None or not link.verified:
            raise ValueError(f"{email} is not a verified address of the alias's owner")
        links.append(link)
    if owner is not None and not links:
        raise ValueError("an alias needs a destination")
    return alias, expiry, links


def create_contacts(reading: Reading, rows: list[tuple[str, Row]]) -> None:
    """Insert the contacts, each with the reverse address that correspondents may have."""
    for batch in batches(rows, BATCH):
        if reading.problems:
            return
        aliases = _aliases_of(batch)
        made: list[Contact] = []
        for place, row in batch:
            with reading.reporting(place):
                made.append(_contact(reading, row, aliases))
        reverse = [contact.reverse_address for contact in made]
        taken = set(Contact.objects.filter(reverse_address__in=reverse).values_list("reverse_address"))
        if taken or len(set(reverse)) < len(reverse):
            reading.problems.append("contacts: a reverse address is there already, or twice.")
        pairs = {(contact.alias_id, contact.address) for contact in made}
        if len(pairs) < len(made):
            reading.problems.append("contacts: an alias has the same contact twice.")
        if not reading.problems:
            Contact.objects.bulk_create(made)


def _contact(reading: Reading, row: Row, aliases: dict[str, Alias]) -> Contact:
    alias = _alias_of(row, aliases)
    reverse_address = text_of(row, "reverse_address")
    if (
        not looks_like_reverse(reverse_address.rpartition("@")[0])
        or alias.address.partition("@")[2] != (reverse_address.partition("@")[2])
    ):
        raise ValueError(f"{reverse_address} is not a reverse address on the alias's domain")
    contact = reading.read(
        Contact,
        row,
        alias=alias,
        address=correspondent_address(text_of(row, "address")),
        name=clean_name(row.get("name", "")),
    )
    contact.full_clean(exclude=["alias"], validate_unique=False, validate_constraints=False)
    return contact


def create_senders(reading: Reading, rows: list[tuple[str, Row]]) -> None:
    """Insert the senders."""
    for batch in batches(rows, BATCH):
        if reading.problems:
            return
        aliases = _aliases_of(batch)
        made: list[SenderDomain] = []
        for place, row in batch:
            with reading.reporting(place):
                alias = _alias_of(row, aliases)
                domain = domain_to_ascii(text_of(row, "domain"))
                made.append(reading.read(SenderDomain, row, alias=alias, domain=domain))
                made[-1].full_clean(exclude=["alias"], validate_unique=False, validate_constraints=False)
        if len({(sender.alias_id, sender.domain) for sender in made}) < len(made):
            reading.problems.append("senders: an alias has the same sender twice.")
        if not reading.problems:
            SenderDomain.objects.bulk_create(made)


def _aliases_of(batch: Sequence[tuple[str, Row]]) -> dict[str, Alias]:
    """The aliases that these rows name, by address."""
    named = Alias.objects.filter(address__in=[row.get("alias") for _place, row in batch])
    return {alias.address: alias for alias in named}


def _alias_of(row: Row, aliases: dict[str, Alias]) -> Alias:
    alias = aliases.get(text_of(row, "alias"))
    if alias is None:
        raise ValueError(f"there is no alias {row['alias']}")
    return alias
