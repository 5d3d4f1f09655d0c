from core.audit import AuditEntry
from core.heartbeats import Heartbeat
from core.ratelimit import Counter

__all__ = ["AuditEntry", "Counter", "Heartbeat"]
