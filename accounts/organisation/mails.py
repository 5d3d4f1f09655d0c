"""Mails about identities."""

from functools import partial

from django.conf import settings
from django.db import transaction

from accounts.models import User
from core.after_answer import do_after_answer
from core.mails import absolute_url, send_template


def tell_of_connection(user: User, source: str, *, is_new: bool = True) -> None:
    """Mail the user, once the transaction is through, that `source` signs them in now; or no longer does."""
    context = {
        "source": source,
        "is_new": is_new,
        "site_url": settings.SITE_URL,
        "connected_url": absolute_url("connected-list"),
        "sessions_url": absolute_url("usersessions_list"),
    }
    prefix = settings.ACCOUNT_EMAIL_SUBJECT_PREFIX
    tell = partial(
        send_template, "accounts/email/connected", user.email, context, language=user.language, prefix=prefix
    )
    transaction.on_commit(lambda: do_after_answer(tell))
