"""The state of the site, for the admin's home."""

from django import template

from anonmail_site import state

register = template.Library()


@register.inclusion_tag("admin/_site_state.html")
def site_state() -> dict[str, object]:
    return {"counts": state.counts(), "needs": state.needs()}
