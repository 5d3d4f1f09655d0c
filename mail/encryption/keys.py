"""Giving a destination its key, and taking it away; telling its owner of its end."""

import logging
from datetime import timedelta
from functools import partial

from allauth.account.models import EmailAddress
from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from core.addresses import display_address
from core.after_answer import do_after_answer
from core.db.violations import is_dangling
from core.exceptions import RuleError
from core.mails import absolute_url, send_template
from core.ratelimit import Limit, count_or_refuse
from mail.encryption import wkd
from mail.encryption.certificates import Certificate, EncryptionAway, NotEncrypted, UnusableKey, encrypt, read
from mail.models import DestinationKey

logger = logging.getLogger(__name__)

# Reading a key takes milliseconds, and looking one up asks a stranger's server.
PER_HOUR = 30


class AddressGone(RuleError, code="address_gone", status=404):
    """The address was removed meanwhile."""


class NotVerifiedYet(RuleError, code="address_not_verified"):
    """Nothing is forwarded to the address yet."""


def give_key(address: EmailAddress, given: bytes) -> DestinationKey:
    """Encrypt mail to this address from now on: to this key, instead of another one that it has. How it is
    used stays as it was. Raises UnusableKey, NotVerifiedYet, AddressGone, RateLimited."""
    _count(address)
    return _store(address, read(given))


def look_key_up(address: EmailAddress) -> DestinationKey:
    """The same with the key that the address's domain offers for it. Raises NoKeyFound too."""
    _count(address)
    certificate = read(wkd.find(address.email))
    if address.email.lower() not in certificate.addresses:
        raise UnusableKey(gettext("The key in the Web Key Directory is not for this address."))
    return _store(address, certificate)


def _count(address: EmailAddress) -> None:
    if not address.verified:
        raise NotVerifiedYet(gettext("Verify the address first: open the link in the mail."))
    refusal = _("Too many attempts for now. Try again in %(minutes)s minutes.")
    count_or_refuse(
        (Limit("destination-key", PER_HOUR, timedelta(hours=1), refusal=refusal), address.user_id)
    )


def _store(address: EmailAddress, certificate: Certificate) -> DestinationKey:
    try:
        return _stored(address, certificate)
    except IntegrityError as error:
        if not is_dangling(error):
            raise
        raise AddressGone(gettext("This address has just been removed.")) from error


@transaction.atomic
def _stored(address: EmailAddress, certificate: Certificate) -> DestinationKey:
    key, _is_new = DestinationKey.objects.update_or_create(
        destination=address,
        defaults={
            "fingerprint": certificate.fingerprint,
            "certificate": certificate.octets,
            "expires_at": certificate.expires_at,
            "is_used": True,
            "told": "",
            "since": timezone.now(),
        },
    )
    logger.info("destination %s has a key", address.pk)
    _tell(address, "mail/email/key_given", key)
    return key


@transaction.atomic
def remove_key(address: EmailAddress) -> bool:
    """Send mail to this address as it is from now on; whether it had a key."""
    key = DestinationKey.objects.filter(destination=address).first()
    if key is None or not DestinationKey.objects.filter(pk=key.pk).delete()[0]:
        return False
    logger.info("destination %s has no key any more", address.pk)
    _tell(address, "mail/email/key_removed", key)
    return True


@transaction.atomic
def use_key(
    key: DestinationKey,
    *,
    is_used: bool | None = None,
    hides_subject: bool | None = None,
    otherwise: str | None = None,
) -> None:
    """Change how the key is used; None leaves something as it is."""
    given = {"is_used": is_used, "hides_subject": hides_subject, "otherwise": otherwise}
    changes = {name: value for name, value in given.items() if value is not None}
    was_used = key.is_used
    for name, value in changes.items():
        setattr(key, name, value)
    if changes:
        DestinationKey.objects.filter(pk=key.pk).update(**changes)
    if was_used and not key.is_used:
        _tell(key.destination, "mail/email/key_removed", key)


def _tell(address: EmailAddress, template: str, key: DestinationKey) -> None:
    """Mail the account's owner: whoever takes a key away reads along, whoever gives another one locks out."""
    owner = address.user
    context = {
        "destination": display_address(address.email),
        "fingerprint": key.shown_fingerprint,
        "page": absolute_url("address-key", pk=address.pk),
    }
    language = owner.language or settings.LANGUAGE_CODE
    send = partial(send_template, template, owner.email, context, language=language)
    transaction.on_commit(lambda: do_after_answer(send))


def end_refused_keys() -> int:
    """End now those keys in use to which the library does not encrypt any more, as a later version of it may
    do with what is weak by then; how many."""
    now, ended = timezone.now(), 0
    for key in DestinationKey.objects.in_use().exclude(expires_at__lte=now).order_by("pk").iterator():
        try:
            encrypt(bytes(key.certificate), b"")
        except NotEncrypted:
            same = DestinationKey.objects.filter(pk=key.pk, fingerprint=key.fingerprint)
            ended += same.update(expires_at=now)
            logger.warning("the key of destination %s is refused", key.pk)
        except EncryptionAway:
            # Nothing is known of this key: it is asked for tomorrow.
            continue
    return ended


def report_ending_keys() -> int:
    """Tell the owners of keys that expire soon, and of those that can no longer be used, once each; how many
    mails. Whoever could not be told is told the next time."""
    end_refused_keys()
    told = 0
    for key in DestinationKey.objects.ending().select_related("destination__user").order_by("pk"):
        kind = DestinationKey.Told.OVER if key.is_over else DestinationKey.Told.SOON
        owner = key.destination.user
        if key.told == kind or not owner.is_active:
            continue
        try:
            _mail_end(key, owner.email, owner.language or settings.LANGUAGE_CODE)
        except OSError as error:
            # The others are told all the same.
            logger.error("nobody told of the key of destination %s: %s", key.pk, type(error).__name__)
            continue
        # Not of a key that has taken its place meanwhile.
        DestinationKey.objects.filter(pk=key.pk, fingerprint=key.fingerprint, told=key.told).update(told=kind)
        told += 1
    return told


def _mail_end(key: DestinationKey, to: str, language: str) -> None:
    context = {
        "destination": display_address(key.destination.email),
        "fingerprint": key.shown_fingerprint,
        "expires_at": key.expires_at,
        "is_over": key.is_over,
        "holds_back": key.holds_back,
        "page": absolute_url("address-key", pk=key.pk),
    }
    send_template("mail/email/key_ending", to, context, language=language)
