from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ContactsConfig(AppConfig):
    name = "contacts"
    verbose_name = _("Contacts")

    def ready(self) -> None:
        from accounts.models.own_addresses import register_address_use
        from contacts.addresses import is_reverse_address
        from contacts.models import Contact

        register_address_use(
            lambda email: is_reverse_address(email) and Contact.objects.behind(email).exists()
        )
