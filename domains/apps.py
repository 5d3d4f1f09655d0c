from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class DomainsConfig(AppConfig):
    name = "domains"
    verbose_name = _("Domains and access")

    def ready(self) -> None:
        from accounts.organisation.rights import register_right
        from domains.organisation import manage_what_is_due

        register_right(manage_what_is_due)
