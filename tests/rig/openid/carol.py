"""The person who signs in at the provider, and what is written down about it."""

from core.audit import AuditEntry

SITE = "http://localhost:8000"
CAROL = {"email": "carol@example.com", "email_verified": True, "name": "Carol"}


def actions() -> list[str]:
    """What the audit has, in its order."""
    return list(AuditEntry.objects.order_by("pk").values_list("action", flat=True))
