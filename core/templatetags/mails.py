"""This site's own mail in templates."""

from django import template

from core.mails import note_on_delivery

register = template.Library()
register.simple_tag(note_on_delivery)
