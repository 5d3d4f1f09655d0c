"""The headers that Standard Webhooks signs a message with (https://www.standardwebhooks.com, version 1)."""

import base64
import hmac
from collections.abc import Sequence
from datetime import datetime


def signed_headers(webhook_id: str, moment: datetime, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """What a receiver verifies. `moment`: of this try, as receivers refuse what is some minutes old.
    `keys`: each of them signs, so that a receiver may know any of them."""
    seconds = str(int(moment.timestamp()))
    signed = b".".join((webhook_id.encode(), seconds.encode(), body))
    digests = (base64.b64encode(hmac.digest(key, signed, "sha256")).decode("ascii") for key in keys)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": seconds,
        "webhook-signature": " ".join(f"v1,{digest}" for digest in digests),
    }
