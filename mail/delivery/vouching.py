"""Who brought a message to the mail server in front: written at RCPT, where a proof may be needed, signed.

Policy service and milter know the client and the name it has signed in with; the message comes later, over
LMTP, where neither is known. The field goes between, and no further: nobody else can write one.
"""

import hmac
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from django.conf import settings
from django.utils import timezone

from core.addresses import address_or_none
from core.secret_keys import secret_keys
from mail.delivery.message import HEADER_END, HEADER_MAX, Fields

FIELD = "X-Anonmail-Client"
# Days: a message waits in Postfix's queue for up to five.
_DAYS = 6
_NAME = FIELD.lower()
_IN_HEADER = re.compile(rb"(?im)^%s[ \t]*:[^\r\n]*\r?\n(?:[ \t][^\r\n]*\r?\n)*" % FIELD.encode())
_TEXT = re.compile(r"([0-9]+) (\S+) (\S+) ([0-9a-f]{64})")
_NONE = "-"


@dataclass(frozen=True)
class Client:
    """The IP address from which a message came, and the name under which its sender has signed in; "" each
    if it is unknown."""

    address: str = ""
    login: str = ""


def voucher(recipient: str, client: Client) -> tuple[str, str]:
    """The field, as (name, text), for a message to this reverse address or alias."""
    day = timezone.now().toordinal()
    text = f"{day} {client.address or _NONE} {quote(client.login, safe='@') or _NONE}"
    return FIELD, f"{text} {_mac(recipient, text, settings.SECRET_KEY)}"


def vouched_client(fields: Fields, recipient: str) -> Client:
    """Who brought the message, as a field of ours for this recipient says."""
    today = timezone.now().toordinal()
    for name, text in fields:
        match = _TEXT.fullmatch(text) if name == _NAME else None
        if match is None or not _is_ours(match[4], recipient, text.rpartition(" ")[0]):
            continue
        if 0 <= today - int(match[1]) <= _DAYS:
            address, login = ("" if each == _NONE else each for each in (match[2], match[3]))
            return Client(address, unquote(login))
    return Client()


def without_vouchers(message: bytes, fields: Fields) -> bytes:
    """The message as it was before such fields were added. `fields`: its header."""
    if all(name != _NAME for name, _text in fields):
        return message
    end = HEADER_END.search(message, 0, HEADER_MAX)
    split = end.end() if end else len(message)
    return _IN_HEADER.sub(b"", message[:split]) + message[split:]


def _is_ours(mac: str, recipient: str, text: str) -> bool:
    return any(hmac.compare_digest(mac, _mac(recipient, text, key)) for key in secret_keys())


def _mac(recipient: str, text: str, secret_key: str) -> str:
    signed = f"client:{address_or_none(recipient) or recipient}:{text}"
    return hmac.digest(secret_key.encode(), signed.encode(), "sha256").hex()
