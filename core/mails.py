"""Mails from templates, and links for people who read them outside this site."""

from typing import Any

from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string
from django.urls import reverse


def send_template(name: str, to: str, context: dict[str, Any], *, prefix: str = "") -> None:
    """Mail `<name>.txt`, with `<name>_subject.txt` as its subject. Raises what the mail backend raises."""
    subject = prefix + render_to_string(f"{name}_subject.txt", context).strip()
    send_mail(subject, render_to_string(f"{name}.txt", context), None, [to])


def absolute_url(name: str, **kwargs: Any) -> str:
    """The page's URL on SITE_URL, whatever host a request named."""
    return f"{settings.SITE_URL}{reverse(name, kwargs=kwargs)}"
