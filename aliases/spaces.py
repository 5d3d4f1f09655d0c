"""Giving people name spaces, and what their owners want of them."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from allauth.account.models import EmailAddress
from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from aliases.exceptions import InvalidValue
from aliases.issuing import needs_suffix
from aliases.local_parts import is_reserved
from aliases.models import Alias, NameRule, NameSpace
from aliases.models.name_space import EVERY, NOTE_MAX_CHARACTERS, suffix_of
from aliases.validation import clean_text
from core.addresses import AddressError, domain_to_ascii, parse_without_tag
from core.db.violations import is_dangling
from core.exceptions import RuleError
from core.matching import pattern
from domains.models import Domain, asker, may_create

GLOBS_MAX = 50
RULES_MAX = 50
NOT_NOW = _(
    "Mail makes no aliases here at the moment: you may not create any on this domain now, its Anonymous "
    "Email Service is off, it has ordinary mailboxes, or it asks for names that are hard to guess. Once that "
    "has changed, this goes on as before."
)
_PART = re.compile(r"[a-z0-9]{2,30}")
_GLOB = re.compile(r"[a-z0-9._*?-]{1,64}")


class SpaceTaken(RuleError, code="name_space_taken", status=409):
    """These names were given to somebody before, or lie within somebody else's."""


class SpaceForbidden(RuleError, code="name_space_forbidden", status=403):
    """The domain is one at which mail may make no aliases."""


@transaction.atomic
def give_subdomain(*, domain: Domain, owner: User, label: str) -> NameSpace:
    """Make a subdomain of this name for somebody, who gets all of its names and may create there.

    It is a domain like others, with its own DNS records. Raises as `give` does.
    """
    try:
        name = domain_to_ascii(f"{clean_suffix(label)}.{domain.name}")
    except AddressError as error:
        raise InvalidValue(gettext("The subdomain's name is too long.")) from error
    made, is_new = Domain.objects.get_or_create(name=name, defaults={"anonmail_enabled": True})
    if not is_new:
        raise SpaceTaken(gettext("The domain %(domain)s exists already.") % {"domain": made})
    made.managers.set(domain.managers.all())
    made.grant(owner)
    return give(domain=made, owner=owner)


@transaction.atomic
def give(*, domain: Domain, owner: User, suffix: str = "") -> NameSpace:
    """Give somebody who may create on a domain its names that end with this suffix, or all of them; off until
    they switch it on.

    Raises SpaceForbidden, SpaceTaken, InvalidValue.
    """
    suffix = clean_suffix(suffix) if suffix else ""
    held = Domain.objects.select_for_update().get(pk=domain.pk)
    if held.is_shared:
        raise SpaceForbidden(
            gettext("This domain also has ordinary mailboxes, so mail to unknown names cannot make aliases.")
        )
    if needs_suffix(held):
        raise SpaceForbidden(
            gettext("On this domain a name needs a random part, and senders would choose names without.")
        )
    if not Domain.objects.filter(may_create(**asker(owner)), pk=held.pk).exists():
        raise SpaceForbidden(
            gettext("%(address)s may not create aliases on %(domain)s. Grant access to the domain first.")
            % {"address": owner.email, "domain": held}
        )
    given = list(held.name_spaces.values_list("suffix", flat=True))
    if suffix in given:
        raise SpaceTaken(gettext("These names have been given to somebody already."))
    if given and "" in [suffix, *given]:
        raise SpaceTaken(
            gettext("A domain is given as a whole to one person, or by suffixes, not both ways.")
        )
    if suffix and not held.gives_suffixes:
        Domain.objects.filter(pk=held.pk).update(gives_suffixes=True)
    return NameSpace.objects.create(domain=held, owner=owner, suffix=suffix)


def is_used(email: str) -> bool:
    """Whether the address is an alias, or one that somebody has by a suffix: nobody's own, in one statement.

    Otherwise people could keep names from becoming somebody else's aliases.
    """
    try:
        address = parse_without_tag(email)
    except AddressError:
        return False
    # The model's own order would make the database sort them.
    found = Alias.objects.holding(email).order_by().values("pk")
    if suffix := suffix_of(address.local_part):
        spaces = NameSpace.objects.filter(domain__name=address.domain, suffix=suffix)
        found = found.union(spaces.order_by().values("pk"), all=True)
    return found.exists()


def clean_suffix(text: str) -> str:
    """The suffix as it is stored. Raises InvalidValue."""
    suffix = text.strip().lower()
    if not _PART.fullmatch(suffix) or is_reserved(suffix):
        raise InvalidValue(
            gettext("It consists of 2 to 30 lower-case letters and digits, and is no reserved name.")
        )
    return suffix


def switch(space: NameSpace, enabled: bool) -> None:
    """Let mail make aliases there or not, from the next message on."""
    space.enabled = enabled
    NameSpace.objects.filter(pk=space.pk).update(enabled=enabled)


def switch_by_app(space: Any, enabled: bool) -> None:
    """The same for a client that shows no warning; `space` was read by `noting_pauses`. Raises SpaceForbidden
    if mail would make none even so."""
    if enabled and space.is_paused:
        raise SpaceForbidden(NOT_NOW)
    switch(space, enabled)


def amend(space: NameSpace, *, note: str | None = None, expression: str | None = None) -> None:
    """Change the owner's note on a name space, and which names become aliases: those that one regular
    expression describes, or for "" every name; None leaves it. Raises InvalidPattern, InvalidValue."""
    changes: dict[str, str | bool] = {}
    if note is not None:
        changes["note"] = clean_note(note)
    if expression is not None and expression.strip() != space.expression:
        changes["names"] = clean_names(expression, is_expression=True)
        changes["is_expression"] = bool(changes["names"])
    if changes:
        NameSpace.objects.filter(pk=space.pk).update(**changes)


@contextmanager
def _writing_rules() -> Iterator[None]:
    """A transaction that writes rules. Raises InvalidValue if one of their addresses is removed meanwhile."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        if not is_dangling(error):
            raise
        # PostgreSQL checks foreign keys at commit.
        raise InvalidValue(gettext("This address has just been removed.")) from error


def _not_yours(email: str) -> InvalidValue:
    sentence = gettext("“%(address)s” is not one of your verified addresses.")
    return InvalidValue(sentence % {"address": email[:80]})


def _too_many_rules() -> InvalidValue:
    return InvalidValue(gettext("At most %(max)s rules.") % {"max": RULES_MAX})


@_writing_rules()
def set_default_destination(space: NameSpace, address: EmailAddress | None) -> None:
    """Let mail to new aliases that no other rule fits go to this address; None: to the owner's primary one.

    Raises InvalidValue if the address is not a verified one of the owner's, or there are too many rules.
    """
    if address and not (address.verified and address.user_id == space.owner_id):
        raise _not_yours(address.email)
    # Two at once would make two such rules, or more than RULES_MAX.
    if not NameSpace.objects.select_for_update(no_key=True).filter(pk=space.pk):
        return
    for_every = space.rules.filter(glob=EVERY)
    if address is None:
        for_every.delete()
    elif not for_every.update(address=address):
        if space.rules.count() >= RULES_MAX:
            raise _too_many_rules()
        NameRule.objects.create(space=space, glob=EVERY, address=address)


@_writing_rules()
def change(
    space: NameSpace,
    *,
    names: str,
    is_expression: bool,
    key_word: str,
    per_day: int,
    rules: Sequence[tuple[str, str]],
    note: str | None = None,
) -> None:
    """Change what its owner wants of a name space; `rules`: globs, each with one of the owner's addresses;
    `note`: None leaves it.

    Raises InvalidPattern, InvalidValue; then nothing was changed.
    """
    space.names = clean_names(names, is_expression=is_expression)
    space.is_expression = is_expression
    space.key_word = clean_key_word(key_word)
    if not 1 <= per_day <= settings.ALIASES_BY_MAIL_PER_DAY:
        raise InvalidValue(
            gettext("Between 1 and %(max)s a day.") % {"max": settings.ALIASES_BY_MAIL_PER_DAY}
        )
    space.per_day = per_day
    if note is not None:
        space.note = clean_note(note)
    addresses = {
        address.email: address
        for address in EmailAddress.objects.filter(user_id=space.owner_id, verified=True)
    }
    if len(rules) > RULES_MAX:
        raise _too_many_rules()
    new = []
    for glob, email in rules:
        if email.lower() not in addresses:
            raise _not_yours(email)
        new.append(NameRule(space=space, glob=clean_glob(glob), address=addresses[email.lower()]))
    if len({rule.glob for rule in new}) < len(new):
        raise InvalidValue(gettext("Two rules are for the same names."))
    columns = ("names", "is_expression", "key_word", "per_day", "note")
    if not NameSpace.objects.filter(pk=space.pk).update(**{name: getattr(space, name) for name in columns}):
        raise InvalidValue(gettext("These names have just been taken back from you."))
    space.rules.all().delete()
    NameRule.objects.bulk_create(new)


def clean_note(text: str) -> str:
    """The note as it is stored. Raises InvalidValue."""
    text = clean_text(text.strip())
    if len(text) > NOTE_MAX_CHARACTERS:
        raise InvalidValue(gettext("A note has at most %(max)s characters.") % {"max": NOTE_MAX_CHARACTERS})
    return text


def clean_names(text: str, *, is_expression: bool) -> str:
    """The patterns as they are stored. Raises InvalidPattern, InvalidValue."""
    text = text.strip()
    if not text:
        return ""
    if is_expression:
        pattern(text)
        return text
    globs = [clean_glob(glob) for glob in text.split()]
    if len(globs) > GLOBS_MAX:
        raise InvalidValue(gettext("At most %(max)s patterns.") % {"max": GLOBS_MAX})
    return "\n".join(globs)


def clean_glob(glob: str) -> str:
    """A pattern for names as it is stored. Raises InvalidValue."""
    glob = glob.strip().lower()
    if not _GLOB.fullmatch(glob):
        raise InvalidValue(
            gettext(
                "“%(pattern)s” is no pattern for names. It consists of letters, digits, dots, hyphens and "
                "underscores, with * for any text and ? for any character."
            )
            % {"pattern": glob[:80]}
        )
    return glob


def clean_key_word(text: str) -> str:
    """The key word as it is stored. Raises InvalidValue."""
    text = text.strip().lower()
    if text and not _PART.fullmatch(text):
        raise InvalidValue(gettext("A key word consists of 2 to 30 lower-case letters and digits."))
    return text
