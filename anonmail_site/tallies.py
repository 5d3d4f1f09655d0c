"""What is counted of requests and commands for monitoring (core.tallies)."""

from core.tallies import Moment, Times

REQUEST_TIMES = Times(
    "http_request_seconds", "Time for a request, by the page or call", "route", "method", "status"
)
HOUSEKEEPING_DONE = Moment("housekeeping_success", "When all of the daily tasks were last done")
BACKUP_DONE = Moment("backup_success", "When a backup was last made")
