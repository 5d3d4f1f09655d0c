from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class MailConfig(AppConfig):
    name = "mail"
    verbose_name = _("Mail")

    def ready(self) -> None:
        from aliases.beside import tell_with_destinations
        from domains.dns.services import offer
        from mail.submission import submission_services

        offer(submission_services)
        # Apps show, with an alias that they have just made, whether its mail will be encrypted.
        tell_with_destinations("openpgp_key", "fingerprint", "is_used", "hides_subject")
