"""What is counted of web hooks for monitoring (core.tallies)."""

from core.tallies import Count, Times

# delivered, failed (and tried again), dead, or missed (there was no room).
MESSAGES = Count("hook_messages", "Messages to web hooks, by what happened to them", "result")
REQUEST_TIMES = Times("hook_request_seconds", "Time until a web hook has answered, or has not", "result")
