from contextlib import suppress

from django.apps import AppConfig
from django.conf import settings

from anonmail_site.error_reports import report_errors


class AnonmailSiteConfig(AppConfig):
    name = "anonmail_site"
    default = True

    def ready(self) -> None:
        import anonmail_site.checks  # noqa: F401 - registers the system checks

        _report_errors()


class WorkerConfig(AppConfig):
    """The same without the checks, which need every app."""

    name = "anonmail_site"

    def ready(self) -> None:
        _report_errors()


def _report_errors() -> None:
    if settings.SENTRY_DSN:
        with suppress(ImportError, ValueError):  # A system check says it.
            report_errors(settings.SENTRY_DSN)
