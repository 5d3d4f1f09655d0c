from django.apps import AppConfig


class AnonmailSiteConfig(AppConfig):
    name = "anonmail_site"

    def ready(self) -> None:
        import anonmail_site.checks  # noqa: F401 - registers the system checks
