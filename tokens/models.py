"""Personal tokens for the API. The server generates them, shows them once, and stores a digest."""

import hashlib
import secrets
import string
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from ipaddress import ip_network

from django.db import models, transaction
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from core.client_address import in_any, parse_ip
from core.exceptions import RuleError
from core.late_writes import LateWriter
from tokens.scopes import Scope, check_scopes

# 48 of 62 characters are 285 random bits. Between 40 and 60: addy.io's clients check for that.
SECRET_LENGTH = 48
_ALPHABET = string.ascii_letters + string.digits
LAST_USED_PRECISION = timedelta(minutes=1)
NAME_MAX_CHARACTERS = 100
NETWORKS_MAX = 50


class InvalidNetwork(RuleError, code="network_invalid"):
    """A network from which a token may be used is not valid."""


def digest_of(secret: str) -> str:
    """What is stored of a token: its SHA-256 in 64 hexadecimal digits, without salt since it is random."""
    return hashlib.sha256(secret.encode()).hexdigest()


def clean_networks(networks: Iterable[str]) -> list[str]:
    """IP networks (or single addresses) in CIDR form, without repetitions. Raises InvalidNetwork."""
    cleaned: dict[str, None] = {}
    for text in networks:
        try:
            cleaned[str(ip_network(text.strip(), strict=False))] = None
        except ValueError as error:
            raise InvalidNetwork(
                gettext("“%(text)s” is not a valid network. Write it like 192.0.2.7 or 2001:db8::/32.")
                % {"text": text[:60]}
            ) from error
    if len(cleaned) > NETWORKS_MAX:
        raise InvalidNetwork(gettext("A token has at most %(max)s networks.") % {"max": NETWORKS_MAX})
    return list(cleaned)


class OwnerChanged(RuleError, code="owner_changed", status=409):
    """The owner's password was changed, or the owner deactivated, while the token was requested."""


class TokenQuerySet(models.QuerySet["Token"]):
    def owned_by(self, user: User) -> "TokenQuerySet":
        """All tokens of `user`, including those that no longer work."""
        return self.filter(owner=user)

    def live(self) -> "TokenQuerySet":
        """Tokens that work now, from at least some network."""
        return self.filter(
            Q(expires=None) | Q(expires__gt=timezone.now()),
            Q(by_password=False)
            | Q(owner__password_changed=None)
            | Q(created__gte=F("owner__password_changed")),
            owner__is_active=True,
            created__gte=F("owner__credentials_valid_from"),
        )

    @transaction.atomic
    def issue(
        self,
        *,
        owner: User,
        name: str,
        scopes: Scope = Scope.CREATE,
        expires: datetime | None = None,
        networks: Sequence[str] = (),
        by_password: bool = False,
    ) -> tuple["Token", str]:
        """Create a token and return it with its secret, which is not stored.

        `by_password`: an app got it with the owner's password, and it ends with that password. Raises
        InvalidNetwork, InvalidScopes, and OwnerChanged if the password changed or the owner was
        deactivated since `owner` was read: the token must not outlive the old password.
        """
        # A change of password in this moment waits, and ends this token too.
        if User.objects.lock_unchanged(owner) is None:
            raise OwnerChanged(gettext("Your password or account was changed just now. Sign in again."))
        secret = "".join(secrets.choice(_ALPHABET) for _ in range(SECRET_LENGTH))
        token = self.create(
            owner=owner,
            # Not before that moment, even if a clock was wrong then: the token would be dead.
            created=max(timezone.now(), owner.credentials_valid_from),
            name=name.strip()[:NAME_MAX_CHARACTERS],
            digest=digest_of(secret),
            scopes=check_scopes(scopes),
            expires=expires,
            networks=clean_networks(networks),
            by_password=by_password,
        )
        return token, secret


class Token(models.Model):
    """Lets its holder call the API as its owner, as far as its rights go."""

    owner = models.ForeignKey(User, models.CASCADE, related_name="tokens", verbose_name=_("owner"))
    name = models.CharField(_("name"), max_length=NAME_MAX_CHARACTERS)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    last_used = models.DateTimeField(_("last used"), null=True, editable=False)
    scopes = models.PositiveSmallIntegerField(
        _("rights"), default=Scope.CREATE.value, db_default=Scope.CREATE.value
    )
    by_password = models.BooleanField(
        _("made by an app's sign-in"),
        default=False,
        db_default=False,
        help_text=_("It ends when the password is changed."),
    )
    expires = models.DateTimeField(_("expires"), null=True, blank=True)
    networks = models.JSONField(
        _("networks"),
        default=list,
        blank=True,
        help_text=_("The token works only from these. Empty: from anywhere."),
    )

    objects = TokenQuerySet.as_manager()

    class Meta:
        verbose_name = _("token")
        verbose_name_plural = _("tokens")
        ordering = ["-created"]
        constraints = [models.CheckConstraint(condition=Q(scopes__gt=0), name="token_has_a_right")]

    def __str__(self) -> str:
        return self.name

    @property
    def rights(self) -> Scope:
        """What its holder may do."""
        return Scope(self.scopes)

    def has(self, needed: Scope) -> bool:
        """Whether its holder may do all of this."""
        # Of numbers: an operator of flags looks for the member that its result is.
        return not needed.value & ~self.scopes

    @property
    def is_live(self) -> bool:
        """Whether it works now, from at least some network."""
        return self.owner.accepts_credentials_of(self.created, by_password=self.by_password) and (
            self.expires is None or self.expires > timezone.now()
        )

    def accepts(self, remote_address: str) -> bool:
        """Whether it works now for a client at this IP address."""
        if not self.is_live:
            return False
        if not self.networks:
            return True
        return in_any(parse_ip(remote_address), [ip_network(network) for network in self.networks])

    def note_use(self) -> None:
        """Record its use, at most once a minute and a moment later; nothing waits or fails for it."""
        now = timezone.now()
        if self.last_used is None or abs(now - self.last_used) >= LAST_USED_PRECISION:
            _uses.note(self.pk)

    def revoke(self) -> None:
        """End the token, from the next request on."""
        self.delete()


def _write_uses(keys: set[int]) -> None:
    Token.objects.filter(pk__in=keys).update(last_used=timezone.now())


_uses = LateWriter(_write_uses)
