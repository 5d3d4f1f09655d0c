from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AliasesConfig(AppConfig):
    name = "aliases"
    verbose_name = _("Aliases")

    def ready(self) -> None:
        from accounts.deletion import before_account_deletion
        from accounts.models.own_addresses import register_address_use
        from aliases.models import Alias
        from aliases.spaces import is_used

        register_address_use(is_used)
        before_account_deletion(lambda user: Alias.objects.owned_by(user).strip())
