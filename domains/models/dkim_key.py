"""The keys with which mail from a domain is signed (RFC 6376, RFC 8463)."""

import base64
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from core.db.compiled import CompiledQuery
from core.sealing import CannotUnseal, seal, sealed_by_present_key, unseal
from core.secret_keys import secret_keys
from domains.models.domain import Domain

PURPOSE = "DKIM key"

PrivateKey = RSAPrivateKey | Ed25519PrivateKey


class Algorithm(models.TextChoices):
    """The values of the tags k= in a key's record and, before its hash, a= in a signature."""

    RSA = "rsa", "RSA"
    ED25519 = "ed25519", "Ed25519"

    def new_key(self) -> PrivateKey:
        if self is Algorithm.ED25519:
            return Ed25519PrivateKey.generate()
        return generate_private_key(public_exponent=65537, key_size=2048)


class DkimKey(models.Model):
    """A key pair. The private key is sealed (core.sealing): no page, export, API or log contains it."""

    # Its index is that of the constraint.
    domain = models.ForeignKey(
        Domain, models.CASCADE, related_name="dkim_keys", verbose_name=_("domain"), db_index=False
    )
    selector = models.CharField(_("selector"), max_length=63, editable=False)
    algorithm = models.CharField(_("algorithm"), max_length=10, choices=Algorithm, editable=False)
    # In base64, as in the tag p= of the record.
    public = models.TextField(_("public key"), editable=False)
    sealed = models.TextField(editable=False)
    created = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    # Since when every check that got an answer has found the record.
    published = models.DateTimeField(_("in the DNS since"), null=True, editable=False)

    class Meta:
        verbose_name = _("DKIM key")
        verbose_name_plural = _("DKIM keys")
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["domain", "selector"], name="dkim_key_unique_selector")
        ]

    def __str__(self) -> str:
        return f"{self.selector} – {self.domain}"

    @classmethod
    def generate(cls, domain: Domain, algorithm: Algorithm) -> "DkimKey":
        """A new key without a selector, not saved yet."""
        private = algorithm.new_key()
        der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return cls(
            domain=domain,
            algorithm=algorithm,
            public=base64.b64encode(_public_octets(private)).decode("ascii"),
            sealed=seal(PURPOSE, der),
        )

    @property
    def record_name(self) -> str:
        """Where the record with the public key belongs (RFC 6376 §3.6.2.1)."""
        return f"{self.selector}._domainkey.{self.domain.name}"

    @property
    def record_text(self) -> str:
        return f"v=DKIM1; k={self.algorithm}; p={self.public}"

    @property
    def private(self) -> PrivateKey:
        """The private key. Raises CannotUnseal if it was made under a secret key that is no longer known."""
        return _load(self.sealed, secret_keys())

    @property
    def is_readable(self) -> bool:
        try:
            unseal(PURPOSE, self.sealed)
        except CannotUnseal:
            return False
        return True

    def reseal(self) -> bool:
        """Seal the private key under the present secret key, and return whether it was under an earlier one.

        Raises CannotUnseal.
        """
        sealed = sealed_by_present_key(PURPOSE, self.sealed)
        is_new = sealed != self.sealed
        if is_new:
            self.sealed = sealed
            self.save(update_fields=["sealed"])
        return is_new


def _public_octets(private: PrivateKey) -> bytes:
    """The public key as the tag p= has it: RFC 6376 §3.6.1 for RSA, RFC 8463 §4 for Ed25519."""
    public = private.public_key()
    if isinstance(private, Ed25519PrivateKey):
        return public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@lru_cache(maxsize=2000)
def _load(sealed: str, known: tuple[str, ...]) -> PrivateKey:
    """The private key. Loading takes longer than signing, so keys are kept."""
    # We wrote it, and the seal shows that it is unchanged. Validating it would take 30 ms.
    key = load_der_private_key(unseal(PURPOSE, sealed), None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(key, RSAPrivateKey | Ed25519PrivateKey)
    return key


# Run for each message that may be signed.
_PUBLISHED = CompiledQuery(
    lambda domain: DkimKey.objects.filter(domain__name=domain, published__isnull=False).order_by("pk"),
    domain=models.CharField(),
)


def signing_keys(domain: str) -> list[DkimKey]:
    """The keys that sign mail from the domain of this name: of each algorithm, the newest one whose record
    is in the DNS."""
    return list({key.algorithm: key for key in _PUBLISHED(domain=domain)}.values())
