"""Browsers in templates."""

from django import template

from accounts.sign_ins import browser_in_words

register = template.Library()
register.filter("browser", browser_in_words)
