"""Writes the document."""

import base64
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from allauth.account.models import EmailAddress
from django.core.serializers.python import Serializer as PythonSerializer
from django.db import models, transaction
from django.db.models import Prefetch
from django.utils import timezone

from accounts.models import User
from aliases.models import Alias, AliasPreferences, NameSpace, SenderDomain
from contacts.models import Contact
from domains.models import AccessGrant, Domain
from rules.models import Rule
from tokens.models import Token
from transfer.installation.document import BATCH, FORMAT, NATURAL_KEYS, VERSION, Row


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
