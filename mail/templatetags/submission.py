"""Where mail can be sent from an alias, in templates."""

from django import template

from mail.submission import submission_servers

register = template.Library()
register.simple_tag(submission_servers)
