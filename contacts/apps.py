from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ContactsConfig(AppConfig):
    name = "contacts"
    verbose_name = _("Contacts")

    def ready(self) -> None:
        from accounts.models.own_addresses import register_address_use
        from contacts.addresses import is_reverse_address
        from core.addresses import domain_or_none
        from domains.models import Domain

        # Given out or not: mail to it would come back to us.
        register_address_use(
            lambda email: (
                is_reverse_address(email)
                and Domain.objects.filter(name=domain_or_none(email.rpartition("@")[2])).exists()
            )
        )
