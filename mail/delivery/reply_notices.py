"""Mails to people about messages that did not go out from their aliases, or that came back."""

from functools import partial
from typing import Any

from django.conf import settings
from django.utils import translation

from core.addresses import display_address
from core.after_answer import do_after_answer
from core.mails import absolute_url, send_template
from mail.reasons import explain


def tell_of_refusal(
    to: str, language: str, alias: str, correspondent: str, reason: str, *, is_proven: bool
) -> None:
    """Say that a message to a correspondent was not sent, and why. `language`: "" for the site's;
    `is_proven`: whether its author is."""
    _tell(
        "mail/email/reply_refused",
        to,
        language,
        alias,
        correspondent,
        reason=reason,
        is_proven=is_proven,
        account=absolute_url("account"),
    )


def tell_of_return(to: str, language: str, alias: str, correspondent: str, status: str, words: str) -> None:
    """Say that a message to a correspondent came back. `language`: "" for the site's; `status`: RFC 3463's,
    "" if unknown; `words`: the other server's."""
    _tell("mail/email/reply_returned", to, language, alias, correspondent, status=status, words=words)


def _tell(
    template: str,
    to: str,
    language: str,
    alias: str,
    correspondent: str,
    status: str = "",
    reason: str = "",
    **more: Any,
) -> None:
    language = language or settings.LANGUAGE_CODE
    with translation.override(language):
        context = {
            "alias": display_address(alias),
            "correspondent": display_address(correspondent),
            "status": status,
            "explanation": explain(status),
            "reason": reason and translation.gettext(reason),
            **more,
        }
        do_after_answer(partial(send_template, template, to, context, language=language))
