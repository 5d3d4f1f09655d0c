"""What an enhanced status code (RFC 3463) means, in plain words for the person whose mail it was."""

from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

_NO_MAILBOX = _("There is no such mailbox.")
_FULL = _("The mailbox is full.")
_TOO_LARGE = _("The message is too large for the mailbox's server.")
_NO_SERVER = _("The mailbox's server was not found.")
_NOT_GENUINE = _("The server doubts that the message is from its sender (SPF, DKIM or DMARC).")

# By the last two numbers of the code: the first says only whether it was for good.
_BY_DETAIL: dict[str, str | Promise] = {
    "1.1": _NO_MAILBOX,
    "1.2": _NO_SERVER,
    "1.3": _NO_MAILBOX,
    "1.6": _("The mailbox has moved and left no new address."),
    "1.10": _("The mailbox's domain accepts no mail."),
    "2.1": _("The mailbox is switched off."),
    "2.2": _FULL,
    "2.3": _TOO_LARGE,
    "3.1": _FULL,
    "3.4": _TOO_LARGE,
    "4.1": _("The mailbox's server did not answer."),
    "4.3": _NO_SERVER,
    "4.4": _NO_SERVER,
    "4.6": _("The message would have gone in a circle."),
    "4.7": _("The mailbox's server did not take the message in time."),
    "6.7": _("The mailbox's server does not support addresses and headers in Unicode."),
    "7.1": _("The server refuses this message by rules of its own, for example as spam."),
    # RFC 7372, RFC 7489; 509 and 515 are Microsoft's.
    **dict.fromkeys([f"7.{number}" for number in (*range(20, 28), 509, 515)], _NOT_GENUINE),
}
_BY_SUBJECT: dict[str, str | Promise] = {
    "1": _("The server does not accept the mailbox's address."),
    "2": _("The mailbox did not accept the message."),
    "3": _("The mailbox's server cannot process the message."),
    "4": _("The message could not be brought to the mailbox's server."),
    "5": _("The servers did not understand each other."),
    "6": _("The mailbox's server does not accept messages of this form."),
    "7": _("The server refuses the message for reasons of security or policy."),
}


def explain(status: str) -> str:
    """A sentence for the code; one that admits it if the code says nothing."""
    _class, _dot, detail = status.partition(".")
    found = _BY_DETAIL.get(detail) or _BY_SUBJECT.get(detail.partition(".")[0])
    return str(found) if found else gettext("The message was refused; the reason is unknown.")
