"""Why a record is as it is, in sentences. They may name `%(host)s`, this server's MAIL_HOSTNAME."""

from django.utils.translation import gettext_lazy as _

SENTENCES = {
    "elsewhere": _(
        "Mail arrives at another server. That is right if it passes mail for aliases on to this one."
    ),
    "no-mail": _("The record says that the domain accepts no mail."),
    "no-address": _("%(host)s, the name of this server, has no address in the DNS."),
    "several": _("There is more than one such record, so receivers ignore them all. Combine them into one."),
    "invalid": _("The record cannot be evaluated, so receivers ignore it."),
    "everyone": _("The record lets every server send mail from this domain."),
    "not-listed": _("The record does not let %(host)s send. The one below does."),
    "inherited": _("The record of the organizational domain applies."),
    "other-server": _("The record names another server or port, so programs send their mail there."),
    "revoked": _("The record revokes the key: it has no public key."),
    "other-key": _("The record has another key."),
    "testing": _("The record says that the key is being tested (t=y). Remove this tag."),
}
