"""Creates people and domains with what belongs to them, a row of the document at a time.

What raises here is noted with the row's place (`Reading.reporting`).
"""

import base64
import re

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator

from accounts.models import AddressChange, DestinationOnly, Identity, User
from accounts.organisation.person import as_list
from aliases.models import Alias, AliasPreferences, NameRule, NameSpace
from aliases.spaces import clean_glob, clean_key_word, clean_names, clean_suffix
from core.addresses import domain_to_ascii, normalise_address
from domains.models import AccessGrant, Domain
from mail.encryption.certificates import fingerprint_of
from mail.models import DestinationKey
from rules.conditions import CONDITIONS_MAX, Condition, clean_condition
from rules.models import Rule, RuleDestination
from tokens.models import Token, clean_networks
from tokens.scopes import EVERY_CALL, scopes_of
from transfer.installation.document import Row
from transfer.installation.reading import Reading, created, text_of


def create_user(reading: Reading, row: Row) -> None:
    email = normalise_address(text_of(row, "email"))
    user = reading.read(User, row, email=email)
    reading.add(user, email)
    if not any(item.get("email") == email and item.get("primary") for item in row.get("addresses", [])):
        raise ValueError(f"{email} must be among the user's addresses, as the primary one")
    for item in row.get("addresses", []):
        address = reading.read(EmailAddress, item, user=user, email=normalise_address(text_of(item, "email")))
        if Alias.objects.holding(address.email).exists():
            raise ValueError(f"the address {address.email} is an alias")
        if AddressChange.objects.holding(address.email).exists():
            raise ValueError(f"the address {address.email} is kept for whoever had it until lately")
        created(address)
        if item.get("destination_only"):
            if address.primary:
                raise ValueError(f"the primary address {address.email} cannot be for receiving only")
            DestinationOnly.objects.create(address=address)
        if key := item.get("key"):
            certificate = base64.b64decode(text_of(key, "certificate"), validate=True)
            if fingerprint_of(certificate) != key.get("fingerprint"):
                raise ValueError(f"the key of {address.email} has another fingerprint")
            read = reading.read(DestinationKey, key, destination=address, certificate=certificate)
            # It may be null, but not blank.
            created(read, exclude=["expires_at"])
        reading.own[user.pk, address.email] = address
    for item in row.get("authenticators", []):
        # last_used_at may be null, but not blank
        created(reading.read(Authenticator, item, user=user), exclude=["last_used_at"])
    for item in row.get("identities", []):
        given = sorted(as_list(item.get("gave_domains")))
        identity = reading.read(Identity, item, user=user, gave_domains=given)
        # These may be empty or null, but not blank.
        created(identity, exclude=["gave_domains", "last_used"])
    for item in row.get("rules", []):
        _create_rule(reading, item, user)


def _create_rule(reading: Reading, row: Row, owner: User) -> None:
    conditions = row.get("conditions")
    if not isinstance(conditions, list) or not 1 <= len(conditions) <= CONDITIONS_MAX:
        raise ValueError("conditions must be an array of 1 to 5 objects")
    kept = [_condition(one).as_json() for one in conditions]
    rule = created(reading.read(Rule, row, owner=owner, conditions=kept), exclude=["applied_at"])
    for email in row.get("destinations", []):
        if email is not None and (owner.pk, email) not in reading.own:
            raise ValueError(f"{email} is not an address of the rule's owner")
        RuleDestination.objects.create(rule=rule, address=reading.own.get((owner.pk, email)))


def _condition(row: Row) -> Condition:
    values, header = row.get("values"), row.get("header", "")
    if not isinstance(values, list) or not all(isinstance(value, str) for value in [*values, header]):
        raise ValueError("the values of a condition must be texts")
    return clean_condition(text_of(row, "of"), text_of(row, "match"), values, header, "")


def create_domain(reading: Reading, row: Row) -> None:
    name = domain_to_ascii(text_of(row, "name"))
    domain = reading.read(Domain, row, name=name)
    reading.add(domain, name)
    domain.managers.set([reading.one(User, email) for email in row.get("managers", [])])


def create_preferences(reading: Reading, row: Row) -> None:
    created(reading.read(AliasPreferences, row))


def create_grant(reading: Reading, row: Row) -> None:
    created(reading.read(AccessGrant, row))


def create_name_space(reading: Reading, row: Row) -> None:
    names, suffix, key_word = (row.get(key, "") for key in ("names", "suffix", "key_word"))
    read = reading.read(
        NameSpace,
        row,
        suffix=clean_suffix(suffix) if suffix else "",
        names=clean_names(names, is_expression=bool(row.get("is_expression"))),
        key_word=clean_key_word(key_word),
    )
    given = list(read.domain.name_spaces.values_list("suffix", flat=True))
    if given and "" in [read.suffix, *given]:
        raise ValueError(f"{read.domain} is given as a whole or by suffixes, not both ways")
    space = created(read)
    if space.suffix:
        Domain.objects.filter(pk=space.domain_id).update(gives_suffixes=True)
    for glob, email in row.get("rules", []):
        if (address := reading.own.get((space.owner_id, email))) is None:
            raise ValueError(f"{email} is not an address of the name space's owner")
        NameRule.objects.create(space=space, glob=clean_glob(glob), address=address)


def create_token(reading: Reading, row: Row) -> None:
    if not re.fullmatch(r"[0-9a-f]{64}", text_of(row, "digest")):
        raise ValueError("digest must be 64 hexadecimal digits")
    # An export without scopes was made when every token could make every call.
    scopes = scopes_of(row["scopes"]) if "scopes" in row else EVERY_CALL
    created(reading.read(Token, row, scopes=scopes, networks=clean_networks(row.get("networks", []))))
