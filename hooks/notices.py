"""Mails about web hooks that were stopped."""

import logging

from django.conf import settings
from django.utils import timezone

from accounts.models import User
from core.mails import send_template
from hooks.models import Hook
from hooks.sending import stopped_by_us

logger = logging.getLogger(__name__)


def tell_of_stopped() -> int:
    """Mail the owner of each hook that was stopped, or the global admins if it is the installation's; once.
    How many hooks. What cannot be sent is tried again by the next call."""
    told = 0
    for hook in stopped_by_us().filter(told_at=None).select_related("owner"):
        try:
            for reader in _readers(hook):
                _send(hook, reader)
        except OSError as error:
            logger.error("nobody told of stopped hook %s: %s", hook.pk, type(error).__name__)
            continue
        told += Hook.objects.filter(pk=hook.pk, stopped_at=hook.stopped_at).update(told_at=timezone.now())
    return told


def _readers(hook: Hook) -> list[User]:
    if hook.owner is not None:
        return [hook.owner] if hook.owner.is_active else []
    return list(User.objects.filter(is_superuser=True, is_active=True).order_by("pk"))


def _send(hook: Hook, reader: User) -> None:
    context = {"hook": hook, "site_url": settings.SITE_URL}
    language = reader.language or settings.LANGUAGE_CODE
    send_template("hooks/email/stopped", reader.email, context, language=language)
