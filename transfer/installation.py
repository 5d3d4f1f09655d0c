"""The whole installation as one JSON document, out and in again without loss.

It holds password hashes, second factors and token digests: keep it as you keep the database.
"""

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.core.exceptions import ValidationError
from django.core.serializers.python import Serializer as PythonSerializer
from django.db import models, transaction
from django.db.models import Prefetch
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from accounts.models import AddressChange, DestinationOnly, Identity, User
from accounts.organisation.person import as_list
from aliases.local_parts import check_local_part, resolved_form
from aliases.models import (
    Alias,
    AliasDestination,
    AliasExpiry,
    AliasPreferences,
    NameRule,
    NameSpace,
    SenderDomain,
)
from aliases.spaces import clean_glob, clean_key_word, clean_names, clean_suffix
from aliases.validation import clean_name, clean_note, clean_text
from aliases.websites import bare_host
from contacts.addresses import correspondent_address, looks_like_reverse
from contacts.models import Contact
from core.addresses import AddressError, domain_to_ascii, normalise_address, parse_address
from core.batches import batches
from core.exceptions import RuleError
from domains.models import AccessGrant, Domain
from mail.encryption.certificates import fingerprint_of
from mail.models import DestinationKey
from rules.conditions import CONDITIONS_MAX, Condition, clean_condition
from rules.models import Rule, RuleDestination
from tokens.models import Token, clean_networks
from tokens.scopes import EVERY_CALL, scopes_of

FORMAT = "anonmail-config"
VERSION = 1
BATCH = 2000

# What a related object is called in the document.
NATURAL_KEYS: dict[type[models.Model], str] = {User: "email", Domain: "name"}

Row = dict[str, Any]
Built = TypeVar("Built", bound=models.Model)


class ConfigError(Exception):
    """The document cannot be imported. `problems` has a sentence with its place for each reason."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


# --- Out -----------------------------------------------------------------------------------------


def export_config() -> Row:
    """The document, ready for `json.dump`, of one consistent moment."""
    with transaction.atomic():
        users = User.objects.prefetch_related(
            "emailaddress_set__destination_only",
            "emailaddress_set__openpgp_key",
            "authenticator_set",
            "identities",
            Prefetch("rules", Rule.objects.in_order()),
        )
        aliases = Alias.objects.select_related("owner", "expiry").with_destinations().order_by("pk")
        contacts = Contact.objects.select_related("alias").order_by("pk")
        return {
            "format": FORMAT,
            "version": VERSION,
            "exported": timezone.now().isoformat(),
            "users": _rows(users.order_by("pk"), _belongings),
            "domains": _rows(
                Domain.objects.prefetch_related("managers"),
                lambda domain: {"managers": sorted(manager.email for manager in domain.managers.all())},
            ),
            "preferences": _rows(
                AliasPreferences.objects.select_related("user", "default_domain").order_by("user"),
                lambda preferences: {"user": preferences.user.email},
            ),
            "grants": _rows(
                AccessGrant.objects.select_related("domain", "user", "granted_by").order_by("pk")
            ),
            "name_spaces": _rows(
                NameSpace.objects.select_related("domain", "owner").order_by("pk"), _name_rules
            ),
            "tokens": _rows(
                Token.objects.select_related("owner").order_by("pk"),
                lambda token: {"scopes": token.rights.words},
            ),
            "aliases": _rows(aliases.iterator(chunk_size=BATCH), _links, without=["domain"]),
            "contacts": _rows(
                contacts.iterator(chunk_size=BATCH),
                lambda contact: {"alias": contact.alias.address},
                without=["alias"],
            ),
            "senders": _rows(
                SenderDomain.objects.select_related("alias").order_by("pk").iterator(chunk_size=BATCH),
                lambda sender: {"alias": sender.alias.address},
                without=["alias"],
            ),
        }


class _Serializer(PythonSerializer):
    """Django's serializer, with dates as texts and a related object as the one value of its natural key."""

    _current: Row

    def get_dump_object(self, obj: models.Model) -> Row:
        return dict(self._current)

    def handle_field(self, obj: models.Model, field: Any) -> None:
        value = field.value_from_object(obj)
        self._current[field.name] = (
            field.value_to_string(obj) if isinstance(value, datetime | UUID) else value
        )

    def handle_fk_field(self, obj: models.Model, field: Any) -> None:
        related = getattr(obj, field.name)
        key = NATURAL_KEYS[field.related_model]
        self._current[field.name] = getattr(related, key) if related else None


def _rows(
    objects: Iterable[Any], others: Callable[[Any], Row] = lambda row: {}, without: Sequence[str] = ()
) -> list[Row]:
    """The objects' fields, and the other values of each."""
    listed = list(objects)
    fields = [field.name for field in listed[0]._meta.concrete_fields] if listed else []
    fields = [name for name in fields if name not in {"id", *without}]
    rows = _Serializer().serialize(listed, fields=fields)
    return [{**row, **others(one)} for row, one in zip(rows, listed, strict=True)]


def _belongings(user: User) -> Row:
    addresses = _rows(
        user.emailaddress_set.all(),
        lambda address: {"destination_only": hasattr(address, "destination_only"), "key": _key(address)},
        without=["user"],
    )
    return {
        "addresses": addresses,
        "authenticators": _rows(user.authenticator_set.all(), without=["user"]),
        "identities": _rows(user.identities.all(), without=["user"]),
        "rules": _rows(user.rules.all(), _rule_links, without=["owner"]),
    }


def _key(address: EmailAddress) -> Row | None:
    """The OpenPGP key to which mail for the address is encrypted."""
    key = getattr(address, "openpgp_key", None)
    if key is None:
        return None
    row = _rows([key], without=["destination", "certificate", "told"])[0]
    return {**row, "certificate": base64.b64encode(bytes(key.certificate)).decode()}


def _rule_links(rule: Rule) -> Row:
    """Where the rule forwards; null for an address that is gone."""
    return {"destinations": [link.address and link.address.email for link in rule.links.all()]}


def _name_rules(space: NameSpace) -> Row:
    """Where mail to new aliases of a name space goes, the first rule first."""
    return {"rules": [[rule.glob, rule.address.email] for rule in space.rows]}


def _links(alias: Alias) -> Row:
    expiry = _rows([alias.expiry], without=["alias"])[0] if hasattr(alias, "expiry") else None
    return {"destinations": [address.email for address in alias.destination_addresses], "expiry": expiry}


# --- In ------------------------------------------------------------------------------------------


def import_config(document: Any) -> dict[str, int]:
    """Create everything in the document and return how many of each kind; all of it, or nothing.

    Nothing is merged: a user, domain or alias that is there already must not be in the document. Raises
    ConfigError with the problems found.
    """
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ConfigError(["This is not an export of Anonmail's configuration."])
    if document.get("version") != VERSION:
        raise ConfigError(
            [f"The export has version {document.get('version')}; this Anonmail reads {VERSION}."]
        )
    with transaction.atomic():
        importer = _Importer()
        counts = importer.load(document)
        if importer.problems:
            raise ConfigError(importer.problems)
    return counts


class _Importer:
    def __init__(self) -> None:
        self.problems: list[str] = []
        self.known: dict[type[models.Model], dict[str, Any]] = {
            model: {getattr(one, key): one for one in model._default_manager.all()}
            for model, key in NATURAL_KEYS.items()
        }
        self.own = {(row.user_id, row.email): row for row in EmailAddress.objects.all()}

    def load(self, document: Row) -> dict[str, int]:
        """Create the rows, and return how many of each kind there are."""
        create: dict[str, Callable[[Row], object]] = {
            "users": self._user,
            "domains": self._domain,
            "preferences": lambda row: _created(self._read(AliasPreferences, row)),
            "grants": lambda row: _created(self._read(AccessGrant, row)),
            "name_spaces": self._name_space,
            "tokens": self._token,
        }
        counts: dict[str, int] = {}
        create_all = {"aliases": self._aliases, "contacts": self._contacts, "senders": self._senders}
        for kind in (*create, *create_all):
            rows = document.get(kind, [])
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                self.problems.append(f"{kind}: must be an array of objects.")
                continue
            counts[kind] = len(rows)
            places = [(f"{kind}[{number}]", row) for number, row in enumerate(rows)]
            if kind in create_all:
                create_all[kind](places)
                continue
            for place, row in places:
                with self._reporting(place):
                    create[kind](row)
            if self.problems:
                # What follows would only complain about what is missing now.
                break
        return counts

    @contextmanager
    def _reporting(self, place: str) -> Iterator[None]:
        """Notes what is wrong with the row at this place, and goes on with the next one."""
        try:
            yield
        except ValidationError as error:
            fields = error.message_dict if hasattr(error, "error_dict") else {"": error.messages}
            sentence = " ".join(f"{field}: {', '.join(words)}" for field, words in fields.items())
            self.problems.append(f"{place}: {sentence}")
        except KeyError as error:
            self.problems.append(f"{place}: the key {error} is missing")
        except (RuleError, AddressError, ValueError, TypeError, AttributeError) as error:
            self.problems.append(f"{place}: {error}")

    def _read(self, model: type[Built], row: Row, **values: Any) -> Built:
        """An object of the row's values, not saved. `values` go before; what is missing takes the default."""
        for field in model._meta.concrete_fields:
            if field.name == "id" or field.name in values or field.name not in row:
                continue
            value = row[field.name]
            if isinstance(value, str):
                clean_text(value)
            if field.related_model in self.known:
                value = self._one(field.related_model, value) if value else None
            elif isinstance(field, models.DateTimeField):
                value = _moment(value)
            values[field.name] = value
        return model(**values)

    def _one(self, model: Any, key: Any) -> Any:
        """The object with this natural key. Raises ValueError."""
        if key not in self.known[model]:
            raise ValueError(f"there is no {model._meta.model_name} {key}")
        return self.known[model][key]

    def _add(self, one: User | Domain, key: str) -> None:
        """Create a user or domain, to be known from now on. Raises ValueError, ValidationError."""
        if key in self.known[type(one)]:
            raise ValueError(f"the {one._meta.model_name} {key} is there already")
        self.known[type(one)][key] = _created(one)

    def _user(self, row: Row) -> None:
        email = normalise_address(_text(row, "email"))
        user = self._read(User, row, email=email)
        self._add(user, email)
        if not any(item.get("email") == email and item.get("primary") for item in row.get("addresses", [])):
            raise ValueError(f"{email} must be among the user's addresses, as the primary one")
        for item in row.get("addresses", []):
            address = self._read(EmailAddress, item, user=user, email=normalise_address(_text(item, "email")))
            if Alias.objects.holding(address.email).exists():
                raise ValueError(f"the address {address.email} is an alias")
            if AddressChange.objects.holding(address.email).exists():
                raise ValueError(f"the address {address.email} is kept for whoever had it until lately")
            _created(address)
            if item.get("destination_only"):
                if address.primary:
                    raise ValueError(f"the primary address {address.email} cannot be for receiving only")
                DestinationOnly.objects.create(address=address)
            if key := item.get("key"):
                certificate = base64.b64decode(_text(key, "certificate"), validate=True)
                if fingerprint_of(certificate) != key.get("fingerprint"):
                    raise ValueError(f"the key of {address.email} has another fingerprint")
                read = self._read(DestinationKey, key, destination=address, certificate=certificate)
                # It may be null, but not blank.
                _created(read, exclude=["expires_at"])
            self.own[user.pk, address.email] = address
        for item in row.get("authenticators", []):
            # last_used_at may be null, but not blank
            _created(self._read(Authenticator, item, user=user), exclude=["last_used_at"])
        for item in row.get("identities", []):
            given = sorted(as_list(item.get("gave_domains")))
            identity = self._read(Identity, item, user=user, gave_domains=given)
            # These may be empty or null, but not blank.
            _created(identity, exclude=["gave_domains", "last_used"])
        for item in row.get("rules", []):
            self._rule(item, user)

    def _rule(self, row: Row, owner: User) -> None:
        conditions = row.get("conditions")
        if not isinstance(conditions, list) or not 1 <= len(conditions) <= CONDITIONS_MAX:
            raise ValueError("conditions must be an array of 1 to 5 objects")
        kept = [_condition(one).as_json() for one in conditions]
        rule = _created(self._read(Rule, row, owner=owner, conditions=kept), exclude=["applied_at"])
        for email in row.get("destinations", []):
            if email is not None and (owner.pk, email) not in self.own:
                raise ValueError(f"{email} is not an address of the rule's owner")
            RuleDestination.objects.create(rule=rule, address=self.own.get((owner.pk, email)))

    def _domain(self, row: Row) -> None:
        name = domain_to_ascii(_text(row, "name"))
        domain = self._read(Domain, row, name=name)
        self._add(domain, name)
        domain.managers.set([self._one(User, email) for email in row.get("managers", [])])

    def _name_space(self, row: Row) -> None:
        names, suffix, key_word = (row.get(key, "") for key in ("names", "suffix", "key_word"))
        read = self._read(
            NameSpace,
            row,
            suffix=clean_suffix(suffix) if suffix else "",
            names=clean_names(names, is_expression=bool(row.get("is_expression"))),
            key_word=clean_key_word(key_word),
        )
        given = list(read.domain.name_spaces.values_list("suffix", flat=True))
        if given and "" in [read.suffix, *given]:
            raise ValueError(f"{read.domain} is given as a whole or by suffixes, not both ways")
        space = _created(read)
        if space.suffix:
            Domain.objects.filter(pk=space.domain_id).update(gives_suffixes=True)
        for glob, email in row.get("rules", []):
            if (address := self.own.get((space.owner_id, email))) is None:
                raise ValueError(f"{email} is not an address of the name space's owner")
            NameRule.objects.create(space=space, glob=clean_glob(glob), address=address)

    def _token(self, row: Row) -> None:
        if not re.fullmatch(r"[0-9a-f]{64}", _text(row, "digest")):
            raise ValueError("digest must be 64 hexadecimal digits")
        # An export without scopes was made when every token could make every call.
        scopes = scopes_of(row["scopes"]) if "scopes" in row else EVERY_CALL
        _created(self._read(Token, row, scopes=scopes, networks=clean_networks(row.get("networks", []))))

    def _aliases(self, rows: list[tuple[str, Row]]) -> None:
        """Insert the aliases in batches; an installation may have a million."""
        # Own addresses as mail to them is looked up: one with a tag stands in an alias's way too.
        receiving = {resolved_form(email) for _user, email in self.own}
        receiving |= set(AddressChange.objects.exclude(held_as="").values_list("held_as", flat=True))
        for start in range(0, len(rows), BATCH):
            made: list[tuple[str, Alias, AliasExpiry | None, list[EmailAddress]]] = []
            for place, row in rows[start : start + BATCH]:
                with self._reporting(place):
                    made.append((place, *self._alias(row)))
            addresses = [alias.address for _place, alias, *_others in made]
            taken = set(Alias.objects.filter(address__in=addresses).values_list("address", flat=True))
            taken |= receiving & set(addresses)
            named = Alias.objects.filter(uuid__in=[alias.uuid for _place, alias, *_others in made])
            ids = set(named.values_list("uuid", flat=True))
            for place, alias, *_others in made:
                if alias.address in taken:
                    self.problems.append(f"{place}: the address {alias.address} is taken.")
                if alias.uuid in ids:
                    self.problems.append(f"{place}: the uuid {alias.uuid} is taken.")
                taken.add(alias.address)
                ids.add(alias.uuid)
            if self.problems:
                continue
            Alias.objects.bulk_create(alias for _place, alias, *_others in made)
            AliasExpiry.objects.bulk_create(expiry for *_others, expiry, _links in made if expiry)
            AliasDestination.objects.bulk_create(
                AliasDestination(alias=alias, address=address)
                for _place, alias, _expiry, links in made
                for address in links
            )

    def _contacts(self, rows: list[tuple[str, Row]]) -> None:
        """Insert the contacts in batches, each with the reverse address that correspondents may have."""
        for batch in batches(rows, BATCH):
            if self.problems:
                return
            aliases = _aliases_of(batch)
            made: list[Contact] = []
            for place, row in batch:
                with self._reporting(place):
                    made.append(self._contact(row, aliases))
            reverse = [contact.reverse_address for contact in made]
            taken = set(Contact.objects.filter(reverse_address__in=reverse).values_list("reverse_address"))
            if taken or len(set(reverse)) < len(reverse):
                self.problems.append("contacts: a reverse address is there already, or twice.")
            pairs = {(contact.alias_id, contact.address) for contact in made}
            if len(pairs) < len(made):
                self.problems.append("contacts: an alias has the same contact twice.")
            if not self.problems:
                Contact.objects.bulk_create(made)

    def _senders(self, rows: list[tuple[str, Row]]) -> None:
        """Insert the senders in batches."""
        for batch in batches(rows, BATCH):
            if self.problems:
                return
            aliases = _aliases_of(batch)
            made: list[SenderDomain] = []
            for place, row in batch:
                with self._reporting(place):
                    alias = _alias_of(row, aliases)
                    domain = domain_to_ascii(_text(row, "domain"))
                    made.append(self._read(SenderDomain, row, alias=alias, domain=domain))
                    made[-1].full_clean(exclude=["alias"], validate_unique=False, validate_constraints=False)
            if len({(sender.alias_id, sender.domain) for sender in made}) < len(made):
                self.problems.append("senders: an alias has the same sender twice.")
            if not self.problems:
                SenderDomain.objects.bulk_create(made)

    def _contact(self, row: Row, aliases: dict[str, Alias]) -> Contact:
        alias = _alias_of(row, aliases)
        reverse_address = _text(row, "reverse_address")
        if (
            not looks_like_reverse(reverse_address.rpartition("@")[0])
            or alias.address.partition("@")[2] != (reverse_address.partition("@")[2])
        ):
            raise ValueError(f"{reverse_address} is not a reverse address on the alias's domain")
        contact = self._read(
            Contact,
            row,
            alias=alias,
            address=correspondent_address(_text(row, "address")),
            name=clean_name(row.get("name", "")),
        )
        contact.full_clean(exclude=["alias"], validate_unique=False, validate_constraints=False)
        return contact

    def _alias(self, row: Row) -> tuple[Alias, AliasExpiry | None, list[EmailAddress]]:
        parsed = parse_address(_text(row, "address"))
        check_local_part(parsed.local_part)
        alias = self._read(
            Alias,
            row,
            address=str(parsed),
            domain=self._one(Domain, parsed.domain),
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
        expiry = self._read(AliasExpiry, row["expiry"], alias=alias) if row.get("expiry") else None
        if expiry:
            expiry.full_clean(exclude=["alias"], **unasked)
        links = []
        for email in dict.fromkeys(row.get("destinations", [])):
            link = self.own.get((owner.pk, email)) if owner else None
            if link is None or not link.verified:
                raise ValueError(f"{email} is not a verified address of the alias's owner")
            links.append(link)
        if owner is not None and not links:
            raise ValueError("an alias needs a destination")
        return alias, expiry, links


def _created(one: Built, exclude: Sequence[str] = ()) -> Built:
    """The object, saved. Raises ValidationError."""
    one.full_clean(exclude=exclude)
    one.save(force_insert=True)
    return one


def _condition(row: Row) -> Condition:
    values, header = row.get("values"), row.get("header", "")
    if not isinstance(values, list) or not all(isinstance(text, str) for text in [*values, header]):
        raise ValueError("the values of a condition must be texts")
    return clean_condition(_text(row, "of"), _text(row, "match"), values, header, "")


def _aliases_of(batch: Sequence[tuple[str, Row]]) -> dict[str, Alias]:
    """The aliases that these rows name, by address."""
    named = Alias.objects.filter(address__in=[row.get("alias") for _place, row in batch])
    return {alias.address: alias for alias in named}


def _alias_of(row: Row, aliases: dict[str, Alias]) -> Alias:
    alias = aliases.get(_text(row, "alias"))
    if alias is None:
        raise ValueError(f"there is no alias {row['alias']}")
    return alias


def _text(row: Row, key: str) -> str:
    if not isinstance(value := row.get(key), str):
        raise ValueError(f"{key} must be a text")
    return value


def _moment(value: Any) -> datetime | None:
    if value is None:
        return None
    moment = parse_datetime(value) if isinstance(value, str) else None
    if moment is None or moment.tzinfo is None:
        raise ValueError(f"{value!r} is not a date and time in ISO 8601 with a time zone")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{value!r} is outside the years 1 to 9999") from error
