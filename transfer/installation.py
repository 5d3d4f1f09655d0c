"""The whole installation as one JSON document, out and in again without loss (docs/administration.md).

It holds password hashes, second factors and token digests: keep it as you keep the database.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from accounts.models import AddressChange, DestinationOnly, User
from aliases.local_parts import check_local_part, resolved_form
from aliases.models import Alias, AliasDestination, AliasExpiry, AliasPreferences
from aliases.validation import clean_name, clean_note, clean_text
from aliases.websites import bare_host
from core.addresses import AddressError, domain_to_ascii, normalise_address, parse_address
from core.exceptions import RuleError
from domains.models import AccessGrant, Domain
from tokens.models import Token, clean_networks
from tokens.scopes import EVERYTHING, scopes_of

FORMAT = "anonmail-config"
VERSION = 1
BATCH = 2000

# The fields that go out and come in as they are; dates apart, which are ISO 8601 texts.
DOMAIN_FIELDS = (
    "anonmail_enabled audience is_shared minimum_style alias_quota comment created".split()  # noqa: SIM905
)
USER_FIELDS = (
    "name is_active is_superuser password date_joined last_login".split()  # noqa: SIM905
    + ["credentials_valid_from", "password_changed"]
)
ALIAS_FIELDS = (
    "uuid enabled pinned note name hostname forwards blocks replies created active_at deleted_at".split()  # noqa: SIM905
)
EXPIRY_FIELDS = ("expires_at", "idle_days", "unused_days", "warned_at", "expired_at")
TOKEN_FIELDS = "name digest created last_used expires networks by_password".split()  # noqa: SIM905

Row = dict[str, Any]


class ConfigError(Exception):
    """The document cannot be imported. `problems` has one sentence, with its place, for each reason."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


# --- Out -----------------------------------------------------------------------------------------


def export_config() -> Row:
    """The document, ready for `json.dump`, of one consistent moment."""
    with transaction.atomic():
        return {
            "format": FORMAT,
            "version": VERSION,
            "exported": timezone.now().isoformat(),
            "users": [_user_row(user) for user in _users()],
            "domains": [_domain_row(domain) for domain in Domain.objects.prefetch_related("managers")],
            "preferences": [
                {
                    "user": row.user.email,
                    "default_domain": row.default_domain.name if row.default_domain else None,
                    "style": row.style,
                    "idle_days": row.idle_days,
                    "unused_days": row.unused_days,
                }
                for row in AliasPreferences.objects.select_related("user", "default_domain").order_by("user")
            ],
            "grants": [
                {
                    "domain": grant.domain.name,
                    "user": grant.user.email,
                    "granted_by": grant.granted_by.email if grant.granted_by else None,
                    "created": grant.created.isoformat(),
                }
                for grant in AccessGrant.objects.select_related("domain", "user", "granted_by").order_by("pk")
            ],
            "tokens": [
                {
                    "owner": token.owner.email,
                    **_values(token, TOKEN_FIELDS),
                    "scopes": token.rights.words,
                }
                for token in Token.objects.select_related("owner").order_by("pk")
            ],
            "aliases": [_alias_row(alias) for alias in _aliases()],
        }


def _users() -> Iterable[User]:
    return User.objects.prefetch_related("emailaddress_set__destination_only", "authenticator_set").order_by(
        "pk"
    )


def _aliases() -> Iterator[Alias]:
    return (
        Alias.objects.select_related("owner", "expiry")
        .with_destinations()
        .order_by("pk")
        .iterator(chunk_size=BATCH)
    )


def _values(row: models.Model, fields: Iterable[str]) -> Row:
    values = {}
    for field in fields:
        value = getattr(row, field)
        if isinstance(value, datetime):
            value = value.isoformat()
        values[field] = str(value) if isinstance(value, UUID) else value
    return values


def _user_row(user: User) -> Row:
    return {
        "email": user.email,
        **_values(user, USER_FIELDS),
        "addresses": [
            {
                "email": address.email,
                "verified": address.verified,
                "primary": address.primary,
                "destination_only": hasattr(address, "destination_only"),
            }
            for address in user.emailaddress_set.all()
        ],
        "authenticators": [
            {
                "type": factor.type,
                "data": factor.data,
                "created_at": factor.created_at.isoformat(),
                "last_used_at": factor.last_used_at.isoformat() if factor.last_used_at else None,
            }
            for factor in user.authenticator_set.all()
        ],
    }


def _domain_row(domain: Domain) -> Row:
    return {
        "name": domain.name,
        **_values(domain, DOMAIN_FIELDS),
        "managers": sorted(manager.email for manager in domain.managers.all()),
    }


def _alias_row(alias: Alias) -> Row:
    return {
        "address": alias.address,
        "owner": alias.owner.email if alias.owner else None,
        "destinations": [address.email for address in alias.destination_addresses],
        **_values(alias, ALIAS_FIELDS),
        "expiry": _values(alias.expiry, EXPIRY_FIELDS) if hasattr(alias, "expiry") else None,
    }


# --- In ------------------------------------------------------------------------------------------


def import_config(document: Any) -> dict[str, int]:
    """Create everything in the document and return how many of each kind; all of it, or nothing.

    What is there already must not be in the document. Raises ConfigError with every problem found.
    """
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ConfigError(["This is no export of Anonmail's configuration."])
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
        self.users = {user.email: user for user in User.objects.all()}
        self.domains = {domain.name: domain for domain in Domain.objects.all()}
        self.own: dict[tuple[int, str], EmailAddress] = {
            (row.user_id, row.email): row for row in EmailAddress.objects.all()
        }

    def load(self, document: Row) -> dict[str, int]:
        kinds: list[tuple[str, Callable[[list[tuple[str, Row]]], int]]] = [
            ("users", self._each(self._user)),
            ("domains", self._each(self._domain)),
            ("preferences", self._each(self._preferences)),
            ("grants", self._each(self._grant)),
            ("tokens", self._each(self._token)),
            ("aliases", self._aliases),
        ]
        counts = {}
        for kind, load in kinds:
            rows = document.get(kind, [])
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                self.problems.append(f"{kind}: must be an array of objects.")
                continue
            counts[kind] = load([(f"{kind}[{number}]", row) for number, row in enumerate(rows)])
            if self.problems:
                # What follows would only complain about what is missing now.
                break
        return counts

    def _each(self, create: Callable[[Row], None]) -> Callable[[list[tuple[str, Row]]], int]:
        def load(rows: list[tuple[str, Row]]) -> int:
            for place, row in rows:
                with self._reporting(place):
                    create(row)
            return len(rows)

        return load

    def _reporting(self, place: str) -> "_Reporting":
        return _Reporting(self.problems, place)

    def _user(self, row: Row) -> None:
        email = normalise_address(_text(row, "email"))
        if email in self.users:
            raise ValueError(f"the user {email} is there already")
        user = User(email=email, **_read(row, USER_FIELDS))
        user.full_clean()
        user.save(force_insert=True)
        self.users[email] = user
        if not any(item.get("email") == email and item.get("primary") for item in row.get("addresses", [])):
            raise ValueError(f"{email} must be among the user's addresses, as the primary one")
        for item in row.get("addresses", []):
            address = EmailAddress(
                user=user,
                email=normalise_address(_text(item, "email")),
                verified=bool(item.get("verified")),
                primary=bool(item.get("primary")),
            )
            if Alias.objects.holding(address.email).exists():
                raise ValueError(f"the address {address.email} is an alias")
            if AddressChange.objects.holding(address.email).exists():
                raise ValueError(f"the address {address.email} is kept for whoever had it until lately")
            address.full_clean()
            address.save(force_insert=True)
            if item.get("destination_only"):
                if address.primary:
                    raise ValueError(f"the primary address {address.email} cannot be for receiving only")
                DestinationOnly.objects.create(address=address)
            self.own[user.pk, address.email] = address
        for item in row.get("authenticators", []):
            factor = Authenticator(
                user=user,
                type=item["type"],
                data=item["data"],
                created_at=_moment(item.get("created_at")) or timezone.now(),
                last_used_at=_moment(item.get("last_used_at")),
            )
            factor.full_clean(exclude=["last_used_at"])  # null there, but not blank
            factor.save(force_insert=True)

    def _domain(self, row: Row) -> None:
        name = domain_to_ascii(_text(row, "name"))
        if name in self.domains:
            raise ValueError(f"the domain {name} is there already")
        domain = Domain(name=name, **_read(row, DOMAIN_FIELDS))
        domain.full_clean()
        domain.save(force_insert=True)
        domain.managers.set([self._known_user(email) for email in row.get("managers", [])])
        self.domains[name] = domain

    def _preferences(self, row: Row) -> None:
        default = row.get("default_domain")
        preferences = AliasPreferences(
            user=self._known_user(row.get("user")),
            default_domain=self._known_domain(default) if default else None,
            style=_text(row, "style"),
            **_read(row, ["idle_days", "unused_days"]),
        )
        preferences.full_clean()
        preferences.save(force_insert=True)

    def _grant(self, row: Row) -> None:
        by = row.get("granted_by")
        grant = AccessGrant(
            domain=self._known_domain(row.get("domain")),
            user=self._known_user(row.get("user")),
            granted_by=self._known_user(by) if by else None,
            **_read(row, ["created"]),
        )
        grant.full_clean()
        grant.save(force_insert=True)

    def _token(self, row: Row) -> None:
        values = _read(row, TOKEN_FIELDS)
        values["networks"] = clean_networks(values.get("networks", []))
        if not re.fullmatch(r"[0-9a-f]{64}", _text(values, "digest")):
            raise ValueError("digest must be 64 hexadecimal digits")
        # An export without them was made when every token could do everything.
        values["scopes"] = scopes_of(row["scopes"]) if "scopes" in row else EVERYTHING
        token = Token(owner=self._known_user(row.get("owner")), **values)
        token.full_clean()
        token.save(force_insert=True)

    def _aliases(self, rows: list[tuple[str, Row]]) -> int:
        """Insert the aliases in batches; an installation may have a million."""
        # Own addresses as mail to them is looked up: one with a tag stands in an alias's way too.
        receiving = {resolved_form(email) for _user, email in self.own}
        receiving |= set(AddressChange.objects.exclude(held_as="").values_list("held_as", flat=True))
        for start in range(0, len(rows), BATCH):
            made: list[tuple[str, Alias, list[EmailAddress]]] = []
            for place, row in rows[start : start + BATCH]:
                with self._reporting(place):
                    made.append((place, *self._alias(row)))
            addresses = [alias.address for _place, alias, _links in made]
            taken = set(Alias.objects.filter(address__in=addresses).values_list("address", flat=True))
            taken |= receiving & set(addresses)
            named = Alias.objects.filter(uuid__in=[alias.uuid for _place, alias, _links in made])
            ids = set(named.values_list("uuid", flat=True))
            for place, alias, _links in made:
                if alias.address in taken:
                    self.problems.append(f"{place}: the address {alias.address} is taken.")
                if alias.uuid in ids:
                    self.problems.append(f"{place}: the uuid {alias.uuid} is taken.")
                taken.add(alias.address)
                ids.add(alias.uuid)
            if self.problems:
                continue
            Alias.objects.bulk_create(alias for _place, alias, _links in made)
            expiries = [alias.__dict__.pop("read_expiry", None) for _place, alias, _links in made]
            AliasExpiry.objects.bulk_create(row for row in expiries if row)
            AliasDestination.objects.bulk_create(
                AliasDestination(alias=alias, address=address)
                for _place, alias, links in made
                for address in links
            )
        return len(rows)

    def _alias(self, row: Row) -> tuple[Alias, list[EmailAddress]]:
        parsed = parse_address(_text(row, "address"))
        check_local_part(parsed.local_part)
        address = str(parsed)
        owner = self._known_user(row["owner"]) if row.get("owner") else None
        values = _read(row, ALIAS_FIELDS)
        values["note"] = clean_note(values.get("note", ""))
        values["name"] = clean_name(values.get("name", ""))
        values["hostname"] = bare_host(values.get("hostname", ""))
        if owner is None and values.get("deleted_at") is None:
            raise ValueError("an alias without an owner must be a deleted one")
        alias = Alias(address=address, domain=self._known_domain(parsed.domain), owner=owner, **values)
        # What is known to be there, and what the batch looks up at once, need no query for each row.
        alias.full_clean(exclude=["owner", "domain"], validate_unique=False, validate_constraints=False)
        if row.get("expiry"):
            expiry = AliasExpiry(alias=alias, **_read(row["expiry"], EXPIRY_FIELDS))
            expiry.full_clean(exclude=["alias"], validate_unique=False, validate_constraints=False)
            alias.__dict__["read_expiry"] = expiry
        links = []
        for email in row.get("destinations", []):
            link = self.own.get((owner.pk, email)) if owner else None
            if link is None or not link.verified:
                raise ValueError(f"{email} is no verified address of the alias's owner")
            if link not in links:
                links.append(link)
        if owner is not None and not links:
            raise ValueError("an alias needs a destination")
        return alias, links

    def _known_user(self, email: Any) -> User:
        if email not in self.users:
            raise ValueError(f"there is no user {email}")
        return self.users[email]

    def _known_domain(self, name: Any) -> Domain:
        if name not in self.domains:
            raise ValueError(f"there is no domain {name}")
        return self.domains[name]


class _Reporting:
    """Notes what goes wrong inside as a problem at a place, and goes on with the next row."""

    def __init__(self, problems: list[str], place: str) -> None:
        self.problems = problems
        self.place = place

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if error is None:
            return False
        if isinstance(error, ValidationError):
            sentence = " ".join(f"{field}: {', '.join(map(str, words))}" for field, words in _fields(error))
        elif isinstance(error, KeyError):
            sentence = f"the key {error} is missing"
        elif isinstance(error, RuleError | AddressError | ValueError | TypeError | AttributeError):
            sentence = str(error)
        else:
            return False
        self.problems.append(f"{self.place}: {sentence}")
        return True


def _fields(error: ValidationError) -> list[tuple[str, list[str]]]:
    if hasattr(error, "error_dict"):
        return list(error.message_dict.items())
    return [("", error.messages)]


def _text(row: Row, key: str) -> str:
    if not isinstance(value := row.get(key), str):
        raise ValueError(f"{key} must be a text")
    return value


def _moment(value: Any) -> datetime | None:
    if value is None:
        return None
    moment = parse_datetime(value) if isinstance(value, str) else None
    if moment is None or moment.tzinfo is None:
        raise ValueError(f"{value!r} is no moment in ISO 8601 with a time zone")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{value!r} is no moment of our calendar") from error


_MOMENTS = frozenset(
    "created active_at deleted_at last_used expires date_joined last_login".split()  # noqa: SIM905
    + ["credentials_valid_from", "password_changed"]
)


def _read(row: Row, fields: Iterable[str]) -> Row:
    """The row's values for these model fields; what it lacks takes the model's default."""
    for field in fields:
        if isinstance(row.get(field), str):
            clean_text(row[field])
    return {
        field: _moment(row[field]) if field in _MOMENTS else row[field] for field in fields if field in row
    }
