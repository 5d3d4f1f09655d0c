"""Users. The addresses at which they receive mail are allauth's EmailAddress rows."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from allauth.account.models import EmailAddress
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import PermissionsMixin
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models.own_addresses import AddressChange, check_available, clean_email
from accounts.sessions import end_sessions
from core.addresses import address_or_none
from core.exceptions import RuleError

if TYPE_CHECKING:
    from django.db.models.fields.related_descriptors import RelatedManager


class LastAdmin(RuleError, code="last_admin", status=409):
    """There must always be an active global admin."""


class Theme(models.TextChoices):
    SYSTEM = "", _("as on this device")
    LIGHT = "light", _("light")
    DARK = "dark", _("dark")


class UserManager(BaseUserManager["User"]):
    def get_by_natural_key(self, username: str | None) -> "User":
        """The user who signs in with this address, in any form. Raises User.DoesNotExist."""
        return self.get(email=address_or_none(username or ""))

    def by_email(self, text: str) -> "User | None":
        """The user who signs in with this address, in any form, or None."""
        email = address_or_none(text)
        return self.filter(email=email).first() if email else None

    @transaction.atomic
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Create a user whose address counts as verified: the caller vouches for it.

        Without a password, the user sets one through a link (`send_password_link`). Raises
        ValidationError for an address that is not valid, taken, or an alias.
        """
        return self._create(email, make_password(password), verified=True, **fields)

    @transaction.atomic
    def sign_up(self, email: str, password_hash: str) -> "User":
        """Create a user who has to verify the address before anything else. Raises as `create_user` does."""
        return self._create(email, password_hash, verified=False)

    def _create(self, email: str, password_hash: str, *, verified: bool, **fields: Any) -> "User":
        email = clean_email(email)
        self.check_new_address(email)
        user = self.model(email=email, password=password_hash, **fields)
        user.full_clean(exclude=["password"])
        user.save(using=self._db)
        EmailAddress.objects.create(user=user, email=email, primary=True, verified=verified)
        return user

    def check_new_address(self, email: str) -> None:
        """Raise ValidationError if no new user may have this address: it is taken, or an alias."""
        check_available(email)
        has_it = EmailAddress.objects.filter(email=email, verified=True)
        # Asked again: the address may have been removed, and so kept for an undo, in this moment.
        if has_it.exists() or AddressChange.objects.holding(email).exists():
            raise ValidationError(_("There is a user with this address already."), code="unique")

    def lock_unchanged(self, user: "User") -> "User | None":
        """The user's row, locked until the end of the transaction.

        None if the account was deleted or deactivated, or its password changed, since `user` was read.
        """
        row = self.select_for_update().filter(pk=user.pk).first()
        return row if row and row.get_session_auth_hash() == user.get_session_auth_hash() else None

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Create a global admin. Raises as `create_user` does."""
        return self.create_user(email, password, is_superuser=True, **fields)


class User(AbstractBaseUser, PermissionsMixin):
    email = models.EmailField(
        _("e-mail address"),
        unique=True,
        help_text=_("The primary address: signs in, and is the destination of aliases without another."),
        error_messages={"unique": _("There is a user with this address already.")},
    )
    name = models.CharField(_("name"), max_length=128, blank=True)
    is_active = models.BooleanField(
        _("active"),
        default=True,
        help_text=_(
            "Off: sessions and tokens end at once, and mail to the aliases is refused until it is on again."
        ),
    )
    is_superuser = models.BooleanField(
        _("global admin"), default=False, help_text=_("May do everything in this admin.")
    )
    date_joined = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    credentials_valid_from = models.DateTimeField(
        _("credentials valid from"),
        default=timezone.now,
        editable=False,
        help_text=_("Sessions and tokens from before this have ended."),
    )
    password_changed = models.DateTimeField(
        _("password changed"),
        null=True,
        editable=False,
        help_text=_("Tokens that apps got with an older password have ended."),
    )

    theme = models.CharField(
        _("theme"), max_length=5, blank=True, default=Theme.SYSTEM, choices=Theme, editable=False
    )
    # Of the pages and mails; the first sign-in sets it. Empty: nobody has signed in yet.
    language = models.CharField(_("language"), max_length=10, blank=True, default="", editable=False)
    has_shortcuts = models.BooleanField(_("keyboard shortcuts"), default=True, editable=False)
    has_first_steps = models.BooleanField(_("shows first steps"), default=True, editable=False)

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    objects = UserManager()

    if TYPE_CHECKING:
        emailaddress_set: RelatedManager[EmailAddress]
        authenticator_set: RelatedManager[Any]

    class Meta:
        verbose_name = _("user")
        verbose_name_plural = _("users")
        constraints = [
            models.CheckConstraint(condition=models.Q(email=Lower("email")), name="user_email_lower_case")
        ]

    def __str__(self) -> str:
        return self.email

    @property
    def is_staff(self) -> bool:
        """Only global admins may use Django's admin."""
        return self.is_superuser

    @property
    def email_domain(self) -> str:
        """The domain of the user's own address, as A-labels."""
        return self.email.partition("@")[2]

    def _get_session_auth_hash(self, secret: str | None = None) -> str:
        """What a session must carry to be valid; a new password and `deactivate` change it."""
        value = f"{self.password}|{self.credentials_valid_from.isoformat()}"
        return salted_hmac("accounts.User.session", value, secret=secret, algorithm="sha256").hexdigest()

    def accepts_credentials_of(self, made: datetime, *, by_password: bool = False) -> bool:
        """Whether a token of that time (`by_password`: got with the password) may still act for this user."""
        if by_password and self.password_changed and made < self.password_changed:
            return False
        return self.is_active and made >= self.credentials_valid_from

    def set_password(self, raw_password: str | None) -> None:
        """Set a password, without saving; tokens that apps got with the old one end once it is saved."""
        super().set_password(raw_password)
        self.password_changed = timezone.now()

    def check_password(self, raw_password: str | None) -> bool:
        """Whether this is the password. Renewing its hash does not count as a change of the password."""
        changed = self.password_changed
        try:
            return super().check_password(raw_password)
        finally:
            self.password_changed = changed

    @property
    def all_tokens_ended_with_password(self) -> bool:
        """Whether the latest change of the password ended every token: for the mail about it."""
        return self.password_changed is not None and self.credentials_valid_from >= self.password_changed

    def change_password(self, password: str, *, end_tokens: bool) -> None:
        """Save a new password; sessions, and tokens that apps got with the old one, end.

        `end_tokens`: all other tokens end too.
        """
        self.set_password(password)
        with transaction.atomic():
            # Waits for a token that is being made in this moment: it ends too.
            User.objects.select_for_update().get(pk=self.pk)
            self.password_changed = timezone.now()
            if end_tokens:
                self.credentials_valid_from = self._end_of_credentials()
            self.save(update_fields=["password", "password_changed", "credentials_valid_from"])

    def deactivate(self) -> None:
        """End the user's sessions and tokens for good, and stop the aliases until `activate`."""
        self.is_active = False
        self.save(update_fields=["is_active"])
        self.end_sessions_and_tokens()

    def end_sessions_and_tokens(self) -> None:
        """End all sessions and tokens of the user, for good."""
        self.credentials_valid_from = self._end_of_credentials()
        self.save(update_fields=["credentials_valid_from"])
        end_sessions(self.pk)

    def _end_of_credentials(self) -> datetime:
        """Now; or just after the last end if a clock was wrong, so that what was made since ends too."""
        return max(timezone.now(), self.credentials_valid_from + timedelta(microseconds=1))

    def check_may_leave(self) -> None:
        """Raise LastAdmin if no active global admin would be left without this user.

        Call it in a transaction: it locks the admins' rows, so that two cannot remove each other.
        """
        admins = User.objects.select_for_update().filter(is_superuser=True, is_active=True).order_by("pk")
        if set(admins.values_list("pk", flat=True)) == {self.pk}:
            raise LastAdmin(gettext("This is the last global admin. Make somebody else one first."))

    def activate(self) -> None:
        """Let the user sign in again, and the aliases receive. Sessions and tokens stay ended."""
        self.is_active = True
        self.save(update_fields=["is_active"])
