"""Web hooks: URLs that are told what happens to aliases, and the messages that wait for them.

A message is written in the transaction of what it tells of, and sent later by a worker (hooks.courier): what
was rolled back is never told, and what was committed always is, at least once.
"""

import base64
import secrets
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection, models, transaction
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from core.outgoing import URL_MAX, NotAllowed, check_host, read_url
from core.sealing import seal, sealed_by_present_key, unseal
from hooks.exceptions import HookStopped, InvalidHook, TooManyHooks
from hooks.outcomes import in_words

HOOKS_MAX = 10  # of one person
WAITING_MAX = 1000  # messages of one hook
# Octets of a secret: Standard Webhooks asks for 24 to 64.
SECRET_OCTETS = 32
SECRET_PREFIX = "whsec_"  # noqa: S105 - what every secret begins with
# How long messages are signed with the secret before the present one too.
EARLIER_SECRET = timedelta(days=1)
# How long messages are kept after they were written.
KEPT = timedelta(days=7)
# How long to wait after each failed try: about a day in all, after which the message is dead. The tries are
# counted, because the clock may be wrong.
WAITS = tuple(
    timedelta(seconds=seconds)
    for seconds in (5, 60, 300, 1800, 3600, 2 * 3600, 4 * 3600, 6 * 3600, 10 * 3600)
)
# A message that is due later than any wait was given its time by a wrong clock.
DUE_MAX = WAITS[-1] * 2
_PURPOSE = "hook secret"


class HookEvent(models.TextChoices):
    """What hooks are told of. The values are part of the messages: never rename one."""

    ALIAS_CREATED = "alias.created", _("new alias")
    SENDER_NEW = "sender.new", _("new sender to an alias that was made for a website")
    ALIAS_DISABLED = "alias.disabled", _("disabled alias")
    ALIAS_ENDED = "alias.ended", _("expired alias")
    DELIVERY_FAILED = "delivery.failed", _("failed delivery")


# The message that its owner has asked for, to try the hook.
TEST = "hook.test"


class Stopped(models.TextChoices):
    """Why a hook is told nothing any more."""

    OWNER = "owner", _("switched off")
    FAILED = "failed", _("stopped, because a message could not be delivered for a day")
    GONE = "gone", _("stopped, because its server says that it is gone")


class HookQuerySet(models.QuerySet["Hook"]):
    def owned_by(self, user: User) -> "HookQuerySet":
        return self.filter(owner=user)

    def of_installation(self) -> "HookQuerySet":
        """Those that are told of everybody's aliases."""
        return self.filter(owner=None)

    def live(self) -> "HookQuerySet":
        """Those that have not been stopped, of active people and of the installation."""
        return self.filter(Q(owner=None) | Q(owner__is_active=True), stopped_at=None)

    def to_be_told(self) -> "HookQuerySet":
        """The live ones to which a message can be sent now."""
        return self.live().filter(
            Exists(HookMessage.objects.waiting().filter(_is_due(), hook=OuterRef("pk")))
        )

    @transaction.atomic
    def make(self, *, owner: User | None, url: str, events: Iterable[str]) -> tuple["Hook", str]:
        """Create a hook and return it with its secret, which is not shown again.

        `owner`: None for one of the installation. Raises InvalidHook, TooManyHooks.
        """
        if owner is not None:
            # Two requests at once cannot both take the last place.
            User.objects.select_for_update().get(pk=owner.pk)
            if self.owned_by(owner).count() >= HOOKS_MAX:
                raise TooManyHooks(gettext("You already have %(max)s web hooks.") % {"max": HOOKS_MAX})
        secret = new_secret()
        hook = self.create(
            owner=owner,
            url=clean_url(url),
            events=clean_events(events),
            sealed_secret=seal(_PURPOSE, secret.encode()),
        )
        return hook, secret


class Hook(models.Model):
    """A URL that is told of these events. Without an owner, it is told of everybody's."""

    owner = models.ForeignKey(
        User, models.CASCADE, null=True, editable=False, related_name="hooks", verbose_name=_("owner")
    )
    # It may contain a secret of its owner's: never in a log, and shown to its owner alone.
    url = models.CharField(_("URL"), max_length=URL_MAX)
    # HookEvents, with spaces between them.
    events = models.CharField(_("events"), max_length=200)
    sealed_secret = models.TextField(editable=False)
    sealed_earlier_secret = models.TextField(blank=True, default="", editable=False)
    earlier_until = models.DateTimeField(null=True, editable=False)
    created = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    stopped_at = models.DateTimeField(_("stopped"), null=True, editable=False)
    stopped_because = models.CharField(max_length=10, choices=Stopped, blank=True, default="", editable=False)
    # When its owner got a mail that it was stopped.
    told_at = models.DateTimeField(null=True, editable=False)
    # Events since its last start of which it will not be told, because too many messages waited.
    missed = models.PositiveIntegerField(_("missed"), default=0, editable=False)

    objects = HookQuerySet.as_manager()

    class Meta:
        verbose_name = _("web hook")
        verbose_name_plural = _("web hooks")
        ordering = ["pk"]

    def __str__(self) -> str:
        return self.host

    @property
    def host(self) -> str:
        """The part of the URL that is no secret."""
        return urlsplit(self.url).netloc

    @property
    def event_list(self) -> list[HookEvent]:
        return [event for event in HookEvent if event in self.events.split()]

    @property
    def event_labels(self) -> list[str]:
        return [str(event.label) for event in self.event_list]

    @property
    def is_stopped(self) -> bool:
        return self.stopped_at is not None

    def secrets(self, now: datetime) -> list[bytes]:
        """The keys with which a message is signed now, the present one first. Raises CannotUnseal."""
        sealed = [self.sealed_secret]
        if self.sealed_earlier_secret and self.earlier_until and now < self.earlier_until:
            sealed.append(self.sealed_earlier_secret)
        return [key_of(unseal(_PURPOSE, each).decode()) for each in sealed]

    def edit(self, *, url: str, events: Iterable[str]) -> None:
        """Tell another URL, or of other events. Raises InvalidHook."""
        self.url, self.events = clean_url(url), clean_events(events)
        self.save(update_fields=["url", "events"])

    def renew_secret(self) -> str:
        """Sign with a new secret, which is returned and not shown again; for a day, with the old one too."""
        secret = new_secret()
        self.sealed_earlier_secret = self.sealed_secret
        self.earlier_until = timezone.now() + EARLIER_SECRET
        self.sealed_secret = seal(_PURPOSE, secret.encode())
        self.save(update_fields=["sealed_secret", "sealed_earlier_secret", "earlier_until"])
        return secret

    def reseal(self) -> bool:
        """Seal its secrets under the present secret key; whether they were not. Raises CannotUnseal."""
        sealed = sealed_by_present_key(_PURPOSE, self.sealed_secret)
        earlier = ""
        if self.sealed_earlier_secret and self.earlier_until and timezone.now() < self.earlier_until:
            earlier = sealed_by_present_key(_PURPOSE, self.sealed_earlier_secret)
        if (sealed, earlier) == (self.sealed_secret, self.sealed_earlier_secret):
            return False
        # Not over a secret that was renewed meanwhile.
        Hook.objects.filter(pk=self.pk, sealed_secret=self.sealed_secret).update(
            sealed_secret=sealed, sealed_earlier_secret=earlier
        )
        return True

    @transaction.atomic
    def stop(self, because: Stopped) -> None:
        """Tell it nothing any more. What waits is not sent, and can be sent again by hand."""
        if Hook.objects.filter(pk=self.pk, stopped_at=None).update(
            stopped_at=timezone.now(),
            stopped_because=because,
            told_at=timezone.now() if because == Stopped.OWNER else None,
        ):
            HookMessage.objects.filter(hook=self.pk).waiting().update(state=HookMessage.State.DEAD)

    def start(self) -> None:
        """Tell it what happens from now on."""
        Hook.objects.filter(pk=self.pk).update(stopped_at=None, stopped_because="", told_at=None, missed=0)

    def refuse_stopped(self) -> None:
        """Raise HookStopped if nothing is sent to it."""
        if self.is_stopped:
            raise HookStopped(gettext("This web hook is switched off. Switch it on first."))


class HookMessageQuerySet(models.QuerySet["HookMessage"]):
    def owned_by(self, user: User) -> "HookMessageQuerySet":
        """The messages to this user's own hooks."""
        return self.filter(hook__owner=user)

    def waiting(self) -> "HookMessageQuerySet":
        return self.filter(state=HookMessage.State.WAITING)

    def due(self) -> "HookMessageQuerySet":
        """Those that can be sent now."""
        is_live = Q(hook__owner=None) | Q(hook__owner__is_active=True)
        return self.waiting().filter(_is_due(), is_live, hook__stopped_at=None)

    def newest_first(self) -> "HookMessageQuerySet":
        return self.order_by("-pk")

    def old(self) -> "HookMessageQuerySet":
        """Those whose time is over, and those that an account or a hook has left behind that was deleted in
        the moment in which they were written."""
        orphaned = ~Exists(Hook.objects.filter(pk=OuterRef("hook_id"))) | Q(about__isnull=False) & ~Exists(
            User.objects.filter(pk=OuterRef("about_id"))
        )
        return self.filter(Q(created__lt=timezone.now() - KEPT) | orphaned)


class HookMessage(models.Model):
    """A message to one hook. Its `uuid` and body are the same each time that it is sent."""

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        DELIVERED = "delivered", _("delivered")
        DEAD = "dead", _("not delivered")

    # No constraints: a hook that is deleted while an event is recorded must not undo the recording, as
    # PostgreSQL looks at them when it commits.
    hook = models.ForeignKey(
        Hook, models.CASCADE, related_name="messages", db_constraint=False, db_index=False
    )
    # Whom it tells something about.
    about = models.ForeignKey(User, models.CASCADE, null=True, related_name="+", db_constraint=False)
    uuid = models.UUIDField(unique=True, default=uuid.uuid4)
    event = models.CharField(_("event"), max_length=20)
    body = models.TextField(_("content"))
    created = models.DateTimeField(_("created"), default=timezone.now, db_index=True)
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.WAITING)
    # When it is sent, or counts as not sent by the worker that has taken it.
    due_at = models.DateTimeField(_("next try"), default=timezone.now)
    attempts = models.PositiveSmallIntegerField(_("tries"), default=0)
    tried_at = models.DateTimeField(_("last try"), null=True)
    # The last answer's; None if there was none.
    status = models.PositiveSmallIntegerField(_("status"), null=True)
    # A code of ours for what was wrong (core.outgoing, hooks.sending), "" if there was an answer.
    problem = models.CharField(_("problem"), max_length=40, blank=True, default="")

    objects = HookMessageQuerySet.as_manager()

    class Meta:
        verbose_name = _("message to a web hook")
        verbose_name_plural = _("messages to web hooks")
        indexes = [
            models.Index(F("hook"), F("id").desc(), name="hook_message_newest"),
            models.Index(fields=["hook"], name="hook_message_waiting", condition=Q(state="waiting")),
            models.Index(fields=["due_at"], name="hook_message_due", condition=Q(state="waiting")),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.hook_id}"

    @property
    def webhook_id(self) -> str:
        """The same for each try, by which a receiver recognises what it has seen."""
        return f"msg_{self.uuid.hex}"

    @property
    def event_label(self) -> str:
        """What happened, for people."""
        if self.event == TEST:
            return gettext("test message")
        return str(HookEvent(self.event).label) if self.event in HookEvent.values else self.event

    @property
    def outcome(self) -> str:
        """What the last try has led to, for people."""
        return in_words(self.status, self.problem)

    def retry(self) -> None:
        """Send it again now, with as many tries as a new one. Raises HookStopped.

        Does nothing if it has been delivered.
        """
        self.hook.refuse_stopped()
        HookMessage.objects.filter(pk=self.pk).exclude(state=self.State.DELIVERED).update(
            state=self.State.WAITING, attempts=0, due_at=timezone.now()
        )


def _is_due() -> Q:
    now = timezone.now()
    return Q(due_at__lte=now) | Q(due_at__gt=now + DUE_MAX)


def new_secret() -> str:
    """As Standard Webhooks writes it: whsec_ and the key in base64."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_OCTETS)).decode("ascii")


def key_of(secret: str) -> bytes:
    """The key that a secret stands for."""
    return base64.b64decode(secret.removeprefix(SECRET_PREFIX))


def clean_url(url: str) -> str:
    """The URL, if messages may be sent there. Raises InvalidHook.

    Where its name leads is looked at for each message (core.outgoing): it may change.
    """
    url = url.strip()
    try:
        host, _port, _path = read_url(url, allows_private=settings.WEBHOOK_PRIVATE_NETWORKS)
        check_host(host, allows_private=settings.WEBHOOK_PRIVATE_NETWORKS)
    except NotAllowed as error:
        raise InvalidHook(
            gettext(
                "This is no URL to which Anonmail sends. Write one that begins with https:// and has a host "
                "name, or a public address, without a user or a fragment (#), at port 443 or above 1023."
            )
        ) from error
    if host == urlsplit(settings.SITE_URL).hostname:
        raise InvalidHook(gettext("This is Anonmail's own server."))
    return url


def clean_events(events: Iterable[str]) -> str:
    """The events as they are stored. Raises InvalidHook."""
    asked = set(events)
    if not asked or asked - set(HookEvent.values):
        raise InvalidHook(gettext("Choose at least one of the events."))
    return " ".join(event for event in HookEvent.values if event in asked)


def is_heard(owner: str) -> Exists:
    """For a query: whether any hook hears of the person in the row's field `owner`."""
    return Exists(Hook.objects.filter(Q(owner=None) | Q(owner=OuterRef(owner)), stopped_at=None).order_by())


@cache
def is_heard_sql(owner: str) -> str:
    """The same as SQL, for a RETURNING. `owner`: an SQL expression, its columns qualified."""
    quote = connection.ops.quote_name
    meta = Hook._meta
    owner_column, stopped = (f"hook.{quote(_column(name))}" for name in ("owner", "stopped_at"))
    return (
        f"EXISTS (SELECT 1 FROM {quote(meta.db_table)} AS hook WHERE {stopped} IS NULL"  # noqa: S608
        f" AND ({owner_column} IS NULL OR {owner_column} = {owner}))"
    )


def _column(name: str) -> str:
    field: Any = Hook._meta.get_field(name)
    return str(field.column)
