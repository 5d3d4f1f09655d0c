"""What is counted of mail for monitoring (core.tallies)."""

from core.tallies import Count, Times

MESSAGES = Count("messages", "Messages to aliases and from them, by what happened to them", "event")
RECIPIENT_TIMES = Times(
    "recipient_seconds", "Time until it was known what a recipient is, by what it is", "recipient"
)
MESSAGE_TIMES = Times(
    "message_seconds",
    "Time until the answer for a message that was handed over, by what its recipient is",
    "recipient",
    "answer",
)
