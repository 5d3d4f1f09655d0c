"""The lines of main.cf and master.cf, each with its reason. docs/mail.md says how it all hangs together."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings

from core.addresses import AddressError, domain_to_ascii
from mail.delivery.message import HOPS_MAX
from mail.server.listening import Endpoint, endpoint

# Octets of the trace fields that we add before a message comes back to be sent out.
TRACE_ROOM = 64 * 1024
DEFAULT_REINJECTION = "127.0.0.1:10026"


@dataclass(frozen=True)
class Line:
    """One parameter of main.cf, and why it has this value.

    `part`: our entries of a list that holds others' too (what an existing Postfix has already).
    """

    name: str
    value: str
    why: str = ""
    part: tuple[str, ...] | None = None


@dataclass
class Configuration:
    """What is written: parameters, services of master.cf, and tables by their file name.

    `is_own` knows our entries of shared lists, those of an earlier run too. `problems` are sentences
    about what no line of ours can put right.
    """

    title: str
    lines: list[Line]
    services: str
    reinjection: str
    tables: dict[str, str] = field(default_factory=dict)
    # `name/type` of services whose parameters are changed, as postconf -P takes them
    overrides: dict[str, str] = field(default_factory=dict)
    directory: Path | None = None
    is_own: Callable[[str], bool] = lambda _entry: False
    problems: list[str] = field(default_factory=list)


class NotPossible(Exception):
    """A setting of ours does not let Postfix reach us; the text says which one, and what to write."""


# The usual port of each door that Postfix asks.
PORTS = {
    "MAIL_LISTEN": 2525,
    "MAIL_LMTP_LISTEN": 2526,
    "MAIL_POLICY_LISTEN": 2527,
    "MAIL_SOCKETMAP_LISTEN": 2528,
}


def door(name: str) -> Endpoint:
    """The endpoint of a door that Postfix must reach, by its setting. Raises NotPossible."""
    text = getattr(settings, name)
    if not text:
        raise NotPossible(
            f"Set {name}, so that Postfix can reach this door, as {name}=127.0.0.1:{PORTS[name]}."
        )
    return endpoint(text)


def postfix_name(place: Endpoint, scheme: str = "inet") -> str:
    """The endpoint as Postfix writes it: `inet:127.0.0.1:2526`, `unix:/path`."""
    if place.path:
        return f"unix:{place.path}"
    host = f"[{place.host}]" if ":" in place.host else place.host
    return f"{scheme}:{host}:{place.port}"


def socketmap(name: str) -> str:
    """Our map of that name, as Postfix asks it (mail/server/socketmap.py)."""
    return f"socketmap:{postfix_name(door('MAIL_SOCKETMAP_LISTEN'))}:{name}"


def policy() -> str:
    """Our policy service, as Postfix asks it."""
    return postfix_name(door("MAIL_POLICY_LISTEN"))


def lmtp_transport() -> str:
    """How Postfix hands mail over to our LMTP door (transport(5))."""
    return f"lmtp:{postfix_name(door('MAIL_LMTP_LISTEN'))}"


def privacy() -> list[Line]:
    """What keeps a sender from learning anything, on any Postfix in front of us."""
    return [
        Line(
            "smtpd_discard_ehlo_keywords",
            "dsn, etrn, vrfy",
            "No delivery reports to strangers, who could ask where mail went (RFC 3461).",
        ),
        Line("disable_vrfy_command", "yes", "Nobody may ask whether an address exists without mailing it."),
        Line("smtpd_etrn_restrictions", "reject", "Hidden above, ETRN would still be obeyed."),
        Line(
            "show_user_unknown_table_name",
            "no",
            "The same words for every unknown address: ours are these.",
        ),
        Line("delay_warning_time", "0h", "No report about a message that waits, which would say where."),
        Line("notify_classes", "", "No copies of other people's sessions to the postmaster."),
        Line("smtpd_helo_required", "yes"),
        Line(
            "smtpd_forbid_bare_newline",
            "yes",
            "Two servers that see different ends of a message can be made to smuggle another one in.",
        ),
        Line(
            "smtpd_soft_error_limit",
            "3",
            "Guessing addresses is slow: after three refusals each answer waits,",
        ),
        Line("smtpd_error_sleep_time", "2s"),
        Line("smtpd_hard_error_limit", "10", "and after ten the connection ends."),
    ]


def fidelity() -> list[Line]:
    """What lets mail pass octet for octet, so that its author's DKIM signature still verifies."""
    return [
        Line("smtputf8_enable", "yes"),
        Line("message_size_limit", str(settings.MAIL_SIZE_LIMIT), "Octets, as MAIL_SIZE_LIMIT."),
        Line("local_header_rewrite_clients", "", "No header is completed or rewritten, not even of our own."),
        Line("message_drop_headers", "", "Nor taken away."),
        Line("disable_mime_output_conversion", "yes", "8-bit mail stays 8-bit mail."),
        Line("smtp_line_length_limit", "0", "Long lines stay whole."),
        Line("lmtp_line_length_limit", "0"),
    ]


NO_POSTMASTER = (
    "MAIL_POSTMASTER is not set: mail to postmaster@ and abuse@ is refused, and what this machine sends to"
    " root (cron, for one) waits in the queue until it is."
)
NO_ANSWER = "451 4.3.0 Try again later"
# Postfix asks twice (smtpd_policy_service_try_limit): a client hears "try later" after 11 seconds.
POLICY_TIMEOUT = "5s"


def questions() -> list[Line]:
    """How long Postfix waits for our answers, and what it says without one."""
    return [
        Line(
            "smtpd_policy_service_default_action",
            NO_ANSWER,
            "Without our answer the sender comes again. We answer within 3 seconds.",
        ),
        Line("smtpd_policy_service_timeout", POLICY_TIMEOUT),
        Line("smtpd_policy_service_request_limit", "0"),
    ]


def tls() -> list[Line]:
    """TLS in and out, with the certificate of the settings."""
    lines = [Line("smtp_tls_security_level", "may", "TLS on the way out wherever the other side can.")]
    if settings.MAIL_TLS_CERTIFICATE:
        key = settings.MAIL_TLS_KEY or settings.MAIL_TLS_CERTIFICATE
        lines += [
            Line("smtpd_tls_chain_files", f"{key}, {settings.MAIL_TLS_CERTIFICATE}", "STARTTLS for senders."),
            Line("smtpd_tls_security_level", "may"),
        ]
    return lines


def reinjection_service(place: str) -> str:
    """The smtpd that takes back what we forward, from this machine alone, and sends it out."""
    options = [
        ("syslog_name", "postfix/anonmail-out"),
        ("smtpd_client_restrictions", "permit_mynetworks,reject"),
        ("smtpd_helo_restrictions", ""),
        ("smtpd_sender_restrictions", ""),
        ("smtpd_relay_restrictions", "permit_mynetworks,reject"),
        ("smtpd_recipient_restrictions", ""),
        ("smtpd_data_restrictions", ""),
        ("smtpd_end_of_data_restrictions", ""),
        ("smtpd_proxy_filter", ""),
        # Filters and checks of headers have seen it on its way in; it must not change any more.
        ("smtpd_milters", ""),
        ("content_filter", ""),
        ("receive_override_options", "no_header_body_checks"),
        ("local_header_rewrite_clients", ""),
        ("smtpd_tls_security_level", "none"),
        # What comes past another Postfix than this one, or past none, may end early for this one: behind
        # that end a stranger would write to us as this machine, which may relay.
        ("smtpd_forbid_bare_newline", "yes"),
        ("smtpd_forbid_bare_newline_exclusions", ""),
        ("smtpd_client_connection_count_limit", "0"),
        ("smtpd_hard_error_limit", "1000"),
        ("smtpd_soft_error_limit", "1000"),
        ("smtpd_error_sleep_time", "0"),
        ("message_size_limit", str(settings.MAIL_SIZE_LIMIT + TRACE_ROOM)),
    ]
    if place.startswith(("127.", "[::1]")):
        options.insert(1, ("mynetworks", "127.0.0.0/8,[::1]/128"))
    written = "\n".join(f"  -o {name}={value}" for name, value in options)
    return f"{place} inet n - n - - smtpd\n{written}\n"


def fresh(reinjection: str = DEFAULT_REINJECTION, *, before_queue: bool = False) -> Configuration:
    """For a Postfix that is Anonmail's alone. Raises NotPossible."""
    try:
        domain_to_ascii(settings.MAIL_HOSTNAME)
    except AddressError as error:
        raise NotPossible(
            "Set MAIL_HOSTNAME to this host's name, as MAIL_HOSTNAME=mx.example.com."
        ) from error
    lines = [
        Line("compatibility_level", "3.6"),
        Line("myhostname", settings.MAIL_HOSTNAME, "As MAIL_HOSTNAME; the MX record of every alias domain."),
        Line("myorigin", "$myhostname"),
        Line("mydestination", "", "No mailboxes here: every domain of ours is handed to Anonmail."),
        Line(
            "local_transport",
            "error:5.1.1 User unknown",
            "Nor for this host's own addresses, as in user@[192.0.2.1]: strangers hear so at once.",
        ),
        Line("local_recipient_maps", ""),
        Line("alias_maps", ""),
        Line(
            "recipient_canonical_maps",
            f"inline:{{{{@localhost=@{settings.MAIL_HOSTNAME}}}}}",
            "What this machine sends to itself (cron to root, say) goes to Anonmail, on to MAIL_POSTMASTER.",
        ),
        Line("recipient_canonical_classes", "envelope_recipient"),
        Line("mynetworks", "127.0.0.0/8 [::1]/128", "Who may send out through here: this machine."),
        Line("parent_domain_matches_subdomains", "", "A subdomain of ours is not ours."),
        Line(
            "relay_domains",
            socketmap("domains"),
            "The domains that are ours, asked for: a new one is known within a second.",
        ),
        Line(
            "fast_flush_domains",
            "",
            "Nobody fetches mail with ETRN: else each message that waits is one more question to Anonmail.",
        ),
        Line("relay_recipient_maps", "", "The policy service knows the recipients."),
        Line("relay_transport", lmtp_transport(), "Mail for them goes to Anonmail."),
        Line("recipient_delimiter", "", "A +tag is Anonmail's to ignore."),
        Line(
            "smtpd_relay_restrictions",
            "permit_mynetworks, reject_unauth_destination",
        ),
        Line(
            "smtpd_recipient_restrictions",
            f"reject_non_fqdn_recipient, check_policy_service {policy()}",
            "What an address is, before a message is taken. Spam checks of yours go before it.",
        ),
        *questions(),
        *privacy(),
        *fidelity(),
        *tls(),
        Line(
            "hopcount_limit",
            str(HOPS_MAX),
            "Where Anonmail sees a loop: any honest message has at most 100 hops (RFC 5321 §6.3).",
        ),
        Line(
            "smtpd_client_connection_count_limit",
            str(settings.MAIL_CONNECTIONS_PER_CLIENT),
            "One client has no more of Postfix's 100 processes than this.",
        ),
        Line("queue_run_delay", "60s", "What had to wait, for a database say, is tried again soon."),
        Line("minimal_backoff_time", "60s"),
        Line(
            "bounce_queue_lifetime",
            "1d",
            "A report about mail that waited too long may be to a forged sender: it is not tried for days.",
        ),
    ]
    overrides = {}
    title = "a Postfix that is Anonmail's alone"
    problems = [] if settings.MAIL_POSTMASTER else [NO_POSTMASTER]
    if before_queue:
        title += ", with Anonmail as its before-queue filter"
        place = door("MAIL_LISTEN")
        overrides = {
            "smtp/inet/smtpd_proxy_filter": postfix_name(place),
            "smtp/inet/smtpd_proxy_timeout": "300s",
            # One message at a time is one answer: Anonmail's own.
            "smtp/inet/smtpd_discard_ehlo_keywords": "dsn,etrn,vrfy,chunking",
        }
    return Configuration(
        title, lines, reinjection_service(reinjection), reinjection, overrides=overrides, problems=problems
    )
