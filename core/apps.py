from django.apps import AppConfig


class CoreConfig(AppConfig):
    name = "core"

    def ready(self) -> None:
        import core.db.prefix  # noqa: F401 - registers the lookup
