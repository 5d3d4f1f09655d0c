"""What the tests of Django admin share."""

from typing import Any

from django.test import Client
from django.urls import reverse

# What the page of a user sends of its inlines, which show rows and take none.
INLINES = {
    f"{inline}-{name}": "0"
    for inline in ("emailaddress_set", "identities")
    for name in ("TOTAL_FORMS", "INITIAL_FORMS")
}


def act(client: Client, model: str, action: str, *keys: int, **more: str) -> Any:
    """Choose rows in a list and run an action on them, as the page does."""
    data = {"action": action, "_selected_action": [str(key) for key in keys], **more}
    return client.post(reverse(f"admin:{model}_changelist"), data, follow=True)
