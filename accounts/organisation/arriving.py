"""Which account somebody gets whom a source vouches for: theirs, one that it may give them, or none."""

from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext

from accounts.local_passwords import has_password
from accounts.models import Identity, User
from accounts.models.own_addresses import is_available
from accounts.organisation.known import name_of
from accounts.organisation.mails import tell_of_connection
from accounts.organisation.person import Person
from accounts.organisation.refusals import (
    AccountExists,
    AddressMissing,
    AddressUnusable,
    AddressUnverified,
    ArrivalRefused,
    IdentityTaken,
    LastWayIn,
    NoNewPeople,
)
from accounts.organisation.rights import apply_rights
from core.addresses import address_or_none
from core.audit import AuditEntry


def arrive(person: Person, request: HttpRequest | None = None) -> User:
    """The user that this person is, with the rights that the source gives; made now if they are new.

    An account is found by what the source calls the person, never by the address alone: an account that
    exists with the address is connected only if the source vouches for its domain. Raises ArrivalRefused.
    """
    try:
        return _arrive(person, request)
    except (IntegrityError, AccountExists, AddressUnusable):
        # The same person may have come twice at once: then the other try has made the account.
        return _arrive(person, request)


@transaction.atomic
def _arrive(person: Person, request: HttpRequest | None) -> User:
    if not person.subject:
        raise ArrivalRefused(gettext("%(source)s did not say who you are.") % {"source": person.source.name})
    identity = _locked(person) or _first(person, request)
    user = identity.user
    if user.is_active:
        apply_rights(identity, person, request)
        identity.last_used = timezone.now()
        identity.save(update_fields=["last_used"])
    return user


def _locked(person: Person) -> Identity | None:
    named = Identity.objects.named(person.source.issuer, person.subject)
    return named.select_related("user").select_for_update(of=("self",)).first()


def _first(person: Person, request: HttpRequest | None) -> Identity:
    """The identity of somebody who comes for the first time, with an account."""
    source = {"source": person.source.name}
    email = address_or_none(person.email)
    if not email:
        raise AddressMissing(gettext("%(source)s did not say what your e-mail address is.") % source)
    if not (person.is_verified or person.source.trusts_addresses):
        said = gettext("%(source)s does not say that your e-mail address is verified. Verify it there first.")
        raise AddressUnverified(said % source)
    domain = email.partition("@")[2]
    user = User.objects.select_for_update().filter(email=email).first()
    if user is not None:
        if domain not in person.source.vouches_for:
            raise AccountExists(
                gettext(
                    "There is an account with your e-mail address already. Sign in to it, then connect it "
                    "with %(source)s on the page Account."
                )
                % source
            )
        _take_over(user, person)
        AuditEntry.objects.record(request, "identity.link", user, person.source.issuer)
        tell_of_connection(user, person.source.name)
    else:
        if not person.source.may_bring(domain):
            raise NoNewPeople(
                gettext("You have no account here. Ask an admin of this server to create one for you.")
            )
        user = _made(person, email)
        AuditEntry.objects.record(request, "identity.create_user", user, person.source.issuer)
    return _made_identity(user, person)


def _take_over(user: User, person: Person) -> None:
    """Prepare an account for the person whose address it has, according to who decides about the address.

    If nobody ever verified the address, somebody else may have made the account: what they know ends. Raises
    AddressUnusable if the address has become an alias meanwhile.
    """
    address = user.emailaddress_set.filter(email=user.email).first()
    if address is None or not address.verified:
        user.set_unusable_password()
        user.save(update_fields=["password", "password_changed"])
        user.end_sessions_and_tokens()
        user.authenticator_set.all().delete()
        user.emailaddress_set.filter(email=user.email).update(verified=True)
        if not is_available(user.email, user):
            raise _unusable(person)


def _made(person: Person, email: str) -> User:
    try:
        return User.objects.create_user(email, name=person.name)
    except ValidationError as error:
        raise _unusable(person) from error


def _unusable(person: Person) -> AddressUnusable:
    return AddressUnusable(
        gettext(
            "Your e-mail address at %(source)s cannot be used here: it is an alias, or belongs to "
            "another user."
        )
        % {"source": person.source.name}
    )


def _made_identity(user: User, person: Person) -> Identity:
    return Identity.objects.create(user=user, issuer=person.source.issuer, subject=person.subject)


@transaction.atomic
def connect(user: User, person: Person, request: HttpRequest | None = None) -> Identity:
    """Let this person sign in as the user, who asked for it. Raises IdentityTaken, ArrivalRefused."""
    if not person.subject:
        raise ArrivalRefused(gettext("%(source)s did not say who you are.") % {"source": person.source.name})
    identity = _locked(person)
    if identity is not None and identity.user_id != user.pk:
        raise IdentityTaken(
            gettext("Your account at %(source)s is connected with another account here.")
            % {"source": person.source.name}
        )
    if identity is None:
        try:
            with transaction.atomic():
                identity = _made_identity(user, person)
        except IntegrityError as error:
            raise IdentityTaken(gettext("This was done elsewhere in this moment. Try again.")) from error
        AuditEntry.objects.record(request, "identity.connect", user, person.source.issuer)
        tell_of_connection(user, person.source.name)
    apply_rights(identity, person, request)
    return identity


@transaction.atomic
def disconnect(user: User, key: int, request: HttpRequest | None = None) -> None:
    """Take the identity, and the rights that it gave, from the user.

    Raises LastWayIn, Identity.DoesNotExist.
    """
    user = User.objects.select_for_update().get(pk=user.pk)
    identity = Identity.objects.owned_by(user).select_for_update().get(pk=key)
    if not (Identity.objects.owned_by(user).exclude(pk=key).exists() or has_password(user)):
        raise LastWayIn(gettext("This is your only way to sign in. Choose a password first."))
    _drop(identity, user, request)
    tell_of_connection(user, name_of(identity.issuer), is_new=False)


@transaction.atomic
def disconnect_recent(user: User, since: datetime) -> None:
    """Take from the user the identities connected after `since`, whatever is left to sign in with."""
    for identity in Identity.objects.owned_by(user).filter(created__gt=since).select_for_update():
        _drop(identity, user, None)


def _drop(identity: Identity, user: User, request: HttpRequest | None) -> None:
    identity.user = user
    apply_rights(identity, None, request)
    identity.delete()
    AuditEntry.objects.record(request, "identity.disconnect", user, identity.issuer)
