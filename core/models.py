from core.audit import AuditEntry
from core.ratelimit import Counter

__all__ = ["AuditEntry", "Counter"]
