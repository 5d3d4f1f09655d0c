"""Reading a message to a return path: a delivery report (RFC 3464, RFC 6533), or a server's own words."""

import logging
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from email import policy
from email.message import Message
from email.parser import BytesParser
from email.utils import getaddresses
from io import BytesIO

from django.utils.html import strip_tags

from mail.delivery.next_hop import enhanced_status
from mail.models import REASON_MAX

logger = logging.getLogger(__name__)

# What is read of a report: its second part tells what we ask for, and the message that comes back
# follows after it. The parser makes many times as much of it as came.
_READ_OCTETS = 256 * 1024
_READ_LINES = 8 * 1024

_FIELD_MAX = 2000  # characters of a field
_TEXT_MAX = 64 * 1024  # characters of a text in which the telling line is looked for

_REPORTS = frozenset({"message/delivery-status", "message/global-delivery-status"})
# The fields of RFC 3464 §2, and extensions (§2.4): any other line belongs to the field above it.
_FIELD = re.compile(
    r"(x-[a-z0-9-]+|action|arrival-date|diagnostic-code|dsn-gateway|final-log-id|final-recipient"
    r"|last-attempt-date|localized-[a-z0-9-]+|original-envelope-id|original-recipient|received-from-mta"
    r"|remote-mta|reporting-mta|status|will-retry-until)\s*:(.*)",
    re.IGNORECASE,
)
# Actions other than a failure (RFC 3464 §2.3.3); "deliverable" answers a probe.
_NO_FAILURE = frozenset({"delayed", "delivered", "relayed", "expanded", "deliverable"})
_COMMENT = re.compile(r"\([^()]*\)")
_STATUS = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d]|\.\d)")
# A reply as Diagnostic-Code quotes it: `smtp; 550-5.1.1 …`.
_REPLY = re.compile(r"(?:[a-z0-9-]+\s*;)?\s*(?:[45]\d\d[ -]\s*)?#?(?=[245]\.)", re.IGNORECASE)
# The most informative line of a server's own words: one with a reply code or a status.
_TELLING = re.compile(r"(?m)^.*(?:\b5\d\d[ -]|\b5\.\d{1,3}\.\d).*$")
# Senders of reports. A message from anybody else may be an out-of-office reply.
_DAEMONS = ("mailer-daemon", "mailerdaemon", "mail-daemon", "postmaster", "mailer_daemon")
_AWAY = re.compile(
    r"\s*(auto(matic|mated)?[ -]?(reply|response|answer)|out of (the )?office|abwesen)", re.IGNORECASE
)
_DELAY = re.compile(
    r"\bdelay|\bwarning\b|\bverz(ö|oe)ger|\bretrying\b|\bnot yet\b|\bstill being\b", re.IGNORECASE
)


@dataclass(frozen=True)
class Report:
    """A failed delivery. `status`: RFC 3463's, "" if unknown; `words`: the other server's."""

    status: str
    words: str


class _Part(Message):
    """A part that the parser does not look into: what came back with a report may itself hold one, which is
    not about our mail."""

    def get_content_type(self) -> str:
        found = super().get_content_type()
        return found if not found.startswith("message/") else f"x-{found}"


def read_report(message: bytes) -> Report | None:
    """What a message to a return path says about the mail that was sent from there.

    None if it reports no failure but a delay, a delivery, an absence, a receipt or a complaint.
    """
    try:
        whole = BytesParser(_Part, policy=policy.compat32).parsebytes(_beginning(message))
        return _report(whole)
    except Exception:
        # The parser is lenient, but a bounce is anybody's octets: what it cannot read says nothing.
        logger.info("a bounce could not be read")
        return Report("", "")


def _beginning(message: bytes) -> bytes:
    return b"".join(BytesIO(message[:_READ_OCTETS]).readlines()[:_READ_LINES])


def _report(whole: Message) -> Report | None:
    parts = list(whole.walk())
    blocks = [
        block
        for part in parts
        if part.get_content_type().removeprefix("x-") in _REPORTS or _is_broken(part)
        for block in _blocks(part)
    ]
    actions = [(_action(block), block) for block in blocks]
    for action, block in actions:
        if action and action not in _NO_FAILURE:
            status = _status(block) or next((found for each in blocks if (found := _status(each))), "5.0.0")
            return Report(status, in_one_line(_words(block) or _text(parts)))
    if any(action for action, _block in actions) or _is_no_failure(whole):
        return None
    return Report("", in_one_line(_text(parts)))


def _is_broken(part: Message) -> bool:
    """Whether it says that it has parts, and none of them begins where it says."""
    return part.get_content_maintype() == "multipart" and not part.is_multipart()


def _blocks(part: Message) -> Iterator[dict[str, str]]:
    """The groups of fields of a report, however it is encoded, folded or spaced."""
    payload = part.get_payload(decode=True)
    text = payload.decode("utf-8", "replace") if isinstance(payload, bytes) else ""
    if "action" not in text.lower():
        # It says that it is encoded, and is not.
        text = str(part.get_payload())
    block: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        match = None if line[:1].isspace() else _FIELD.fullmatch(line.rstrip())
        is_next = match and match[1].lower() == "final-recipient" and "final-recipient" in block
        if not line.strip() or is_next:
            if block:
                yield block
            block, name = {}, ""
        if match:
            name = match[1].lower()
            block.setdefault(name, match[2].strip())
        elif name and len(block[name]) < _FIELD_MAX:
            block[name] = f"{block[name]} {line.strip()}"
    if block:
        yield block


def _action(block: dict[str, str]) -> str:
    """The Action of a group of fields (RFC 3464 §2.3.3), "" if it is not about a recipient."""
    words = _COMMENT.sub(" ", block.get("action", "")).lower().split()
    if words:
        return words[0].strip(".,;:")
    return "failed" if "final-recipient" in block and _status(block).startswith("5") else ""


def _status(block: dict[str, str]) -> str:
    """The status of a group; if that is unspecific, as Exim's is, the one in Diagnostic-Code."""
    found = _STATUS.search(block.get("status", ""))
    status = found[1] if found else ""
    if status in {"", "5.0.0"} and (start := _REPLY.match(block.get("diagnostic-code", ""))):
        return enhanced_status(start.string[start.end() :]) or status
    return status


def _words(block: dict[str, str]) -> str:
    kind, semicolon, words = block.get("diagnostic-code", "").partition(";")
    return words if semicolon else kind


def _text(parts: list[Message]) -> str:
    """The first text of the message, from its most informative line on."""
    for wanted in ("text/plain", "text/html"):
        for part in parts:
            payload = part.get_payload(decode=True)
            is_wanted = part.get_content_type() == wanted or _is_broken(part)
            if is_wanted and isinstance(payload, bytes) and payload.strip():
                try:
                    text = payload.decode(part.get_content_charset("utf-8"), "replace")
                except LookupError:
                    text = payload.decode("utf-8", "replace")
                text = text[:_TEXT_MAX]
                text = strip_tags(text) if wanted == "text/html" else text
                telling = _TELLING.search(text)
                return text[telling.start() :] if telling else text
    return ""


def in_one_line(words: str) -> str:
    """Another server's words in one line of at most REASON_MAX characters, all of them visible."""
    shown = (" " if unicodedata.category(each)[0] in "CZ" else each for each in words[: REASON_MAX * 8])
    return " ".join("".join(shown).split())[:REASON_MAX]


def _is_no_failure(whole: Message) -> bool:
    """Whether a message without a report of a delivery is an answer, a delay, or a report of another kind."""
    kind = str(whole.get_param("report-type", "")).lower()
    if kind in {"disposition-notification", "feedback-report"}:
        return True
    subject = str(whole.get("Subject", ""))
    sender = getaddresses([str(whole.get("From", ""))[:1000]])
    is_daemon = whole.get("X-Failed-Recipients") is not None or any(
        (name + address).lower().replace(" ", "-").find(daemon) >= 0
        for name, address in sender
        for daemon in _DAEMONS
    )
    if is_daemon:
        return _DELAY.search(subject) is not None
    return (
        str(whole.get("Auto-Submitted", "")).strip().lower().startswith("auto-replied")
        or str(whole.get("Precedence", "")).strip().lower() == "auto_reply"
        or any(name in whole for name in ("X-Autoreply", "X-Autorespond"))
        or _AWAY.match(subject) is not None
    )
