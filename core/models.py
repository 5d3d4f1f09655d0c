from core.audit import AuditEntry
from core.heartbeats import Heartbeat
from core.ratelimit import Counter
from core.tallies import Tally

__all__ = ["AuditEntry", "Counter", "Heartbeat", "Tally"]
