"""What a try has led to, in words for the hook's owner."""

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

SECONDS = 10  # that a try may take

# By the code that is kept of a problem (core.outgoing, hooks.sending).
_WORDS = {
    "timeout": _("it did not answer within %(seconds)s seconds"),
    "dns": _("its name was not found"),
    "certificate": _("its certificate is not valid"),
    "tls": _("no encrypted connection could be made"),
    "ConnectionRefusedError": _("it refused the connection"),
    "address": _("it is in a network to which nothing is sent"),
    "url": _("nothing is sent to such a URL"),
    "port": _("nothing is sent to this port"),
    "host": _("this is no host name"),
    "secret": _("the secret can no longer be read: make a new one"),
    "authorities": _("this server's certificate authorities (WEBHOOK_CA) cannot be read: tell its admin"),
}


def in_words(status: int | None, problem: str) -> str:
    """What was answered, or why there is no answer; "" if nothing has been tried yet."""
    if status is not None:
        sentence = gettext("answered %(status)s") % {"status": status}
        if 300 <= status < 400:
            return gettext("%(answered)s; redirects are not followed") % {"answered": sentence}
        return sentence
    if not problem:
        return ""
    return str(_WORDS.get(problem, _("the connection failed"))) % {"seconds": SECONDS}
