"""Reports of errors to Sentry, if SENTRY_DSN is set: which error, and where in the code.

Not what it was about: neither the request, nor values of variables, nor the error's own words, in which
databases repeat what somebody has written. What is sent is put together anew; nothing is left of the rest.
"""

import logging
from typing import TYPE_CHECKING, Any

from core.logs import redact

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

_OF_EVENT = ("event_id", "timestamp", "platform", "level", "logger", "release", "environment")
_OF_FRAME = (
    "filename",
    "function",
    "module",
    "lineno",
    "pre_context",
    "context_line",
    "post_context",
    "in_app",
)


def report_errors(dsn: str) -> None:
    """From now on, report what is logged as an error. Raises ImportError without sentry-sdk."""
    import sentry_sdk
    from sentry_sdk.integrations.atexit import AtexitIntegration
    from sentry_sdk.integrations.logging import LoggingIntegration, ignore_logger

    # A client chooses the Host field.
    ignore_logger("django.security.DisallowedHost")
    sentry_sdk.init(
        dsn,
        # None that looks at requests, or at what ran before.
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[
            LoggingIntegration(level=None, event_level=logging.ERROR),
            AtexitIntegration(callback=lambda pending, timeout: None),
        ],
        before_send=without_contents,
        include_local_variables=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        send_default_pii=False,
        auto_session_tracking=False,
        send_client_reports=False,
        server_name="",
    )


def without_contents(event: "Event", hint: "Hint") -> "Event":
    """An event of what may be known of the given one."""
    kept: dict[str, Any] = {name: event[name] for name in _OF_EVENT if name in event}  # type: ignore[literal-required]
    logged = event.get("logentry") or {}
    # As it is in the code, before values are put in.
    kept["logentry"] = {"message": redact(str(logged.get("message", "")))}
    errors = (event.get("exception") or {}).get("values", [])
    kept["exception"] = {"values": [_without_words(error) for error in errors]}
    return kept  # type: ignore[return-value]


def _without_words(error: dict[str, Any]) -> dict[str, Any]:
    frames = (error.get("stacktrace") or {}).get("frames", [])
    return {
        "type": error.get("type"),
        "module": error.get("module"),
        "stacktrace": {
            "frames": [{name: frame[name] for name in _OF_FRAME if name in frame} for frame in frames]
        },
    }
