from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class CoreConfig(AppConfig):
    name = "core"
    # As the admin shows it: of this app's models, it has the audit alone.
    verbose_name = _("Audit")

    def ready(self) -> None:
        import core.db.prefix  # noqa: F401 - registers the lookup
