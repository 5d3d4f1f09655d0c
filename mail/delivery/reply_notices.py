"""Mails to people about messages that did not go out from their aliases, or that came back."""

from functools import partial

from django.conf import settings
from django.utils import translation

from core.addresses import display_address
from core.after_answer import do_after_answer
from core.mails import send_template
from mail.reasons import explain


def tell_of_refusal(to: str, language: str, alias: str, correspondent: str, reason: str) -> None:
    """Say that a message to a correspondent was not sent, and why. `language`: "" for the site's."""
    _tell("mail/email/reply_refused", to, language, alias, correspondent, reason=reason)


def tell_of_return(to: str, language: str, alias: str, correspondent: str, status: str, words: str) -> None:
    """Say that a message to a correspondent came back. `language`: "" for the site's; `status`: RFC 3463's,
    "" if unknown; `words`: the other server's."""
    _tell("mail/email/reply_returned", to, language, alias, correspondent, status=status, words=words)


def _tell(
    template: str, to: str, language: str, alias: str, correspondent: str, status: str = "", **more: str
) -> None:
    language = language or settings.LANGUAGE_CODE
    with translation.override(language):
        context = {
            "alias": display_address(alias),
            "correspondent": display_address(correspondent),
            "status": status,
            "explanation": explain(status),
            **more,
        }
        do_after_answer(partial(send_template, template, to, context, language=language))
