"""Mails from templates, and links for people who read them outside this site."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext


def send_template(
    name: str, to: str, context: dict[str, Any], *, language: str = "", prefix: str = ""
) -> None:
    """Mail `<name>.txt`, with `<name>_subject.txt` as its subject, in this language; without one, in the
    present one. Raises what the mail backend raises."""
    with translation.override(language or translation.get_language()):
        subject = prefix + render_to_string(f"{name}_subject.txt", context).strip()
        text = render_to_string(f"{name}.txt", context)
    send_mail(subject, text, None, [to])


def note_on_delivery() -> str:
    """A sentence that says where mails of this site end up if no mail server is set up; otherwise "".

    For everybody who is told that one was sent: it would not arrive.
    """
    if not settings.EMAIL_BACKEND.endswith(".filebased.EmailBackend"):
        return ""
    folder = Path(settings.EMAIL_FILE_PATH)  # type: ignore[misc]
    if folder.is_relative_to(settings.BASE_DIR):
        folder = folder.relative_to(settings.BASE_DIR)
    return gettext(
        "This server has no mail server yet (EMAIL_URL): the e-mail is in a file in the directory %(folder)s."
    ) % {"folder": folder}


def absolute_url(name: str, **kwargs: Any) -> str:
    """The page's URL on SITE_URL, whatever host a request named."""
    return f"{settings.SITE_URL}{reverse(name, kwargs=kwargs)}"
