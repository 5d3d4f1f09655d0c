"""The parameters of main.cf and master.cf that both kinds of Postfix get, each with its reason."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings

from mail.server.listening import Endpoint, endpoint

# Octets of the trace fields that we add before a message comes back to be sent out.
TRACE_ROOM = 64 * 1024
DEFAULT_REINJECTION = "127.0.0.1:10026"


@dataclass(frozen=True)
class Parameter:
    """One parameter of main.cf, and reason it has this value.

    `own_entries`: our entries of a list that an existing Postfix may have filled already.
    """

    name: str
    value: str
    reason: str = ""
    own_entries: tuple[str, ...] | None = None


@dataclass
class Configuration:
    """What is written: parameters, services of master.cf, and tables by their file name.

    `is_own` recognises our entries of shared lists, also those of an earlier run. `problems` are sentences
    about what no parameter can put right.
    """

    title: str
    parameters: list[Parameter]
    services: str
    reinjection: str
    tables: dict[str, str] = field(default_factory=dict)
    # `name/type` of services whose parameters are changed, as postconf -P takes them
    overrides: dict[str, str] = field(default_factory=dict)
    directory: Path | None = None
    is_own: Callable[[str], bool] = lambda _entry: False
    problems: list[str] = field(default_factory=list)


class NotPossible(Exception):
    """With these settings Postfix cannot reach us; the text says which one to change, and how."""


# The usual port of each door.
PORTS = {
    "MAIL_LISTEN": 2525,
    "MAIL_LMTP_LISTEN": 2526,
    "MAIL_POLICY_LISTEN": 2527,
    "MAIL_SOCKETMAP_LISTEN": 2528,
}


def endpoint_of(name: str) -> Endpoint:
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
    """Our socket map of that name (mail.server.socketmap), as Postfix writes it."""
    return f"socketmap:{postfix_name(endpoint_of('MAIL_SOCKETMAP_LISTEN'))}:{name}"


def policy() -> str:
    """Our policy service, as Postfix writes it."""
    return postfix_name(endpoint_of("MAIL_POLICY_LISTEN"))


def lmtp_transport() -> str:
    """Our LMTP door, as a transport of Postfix (transport(5))."""
    return f"lmtp:{postfix_name(endpoint_of('MAIL_LMTP_LISTEN'))}"


def privacy() -> list[Parameter]:
    """What keeps senders from learning about addresses."""
    return [
        Parameter(
            "smtpd_discard_ehlo_keywords",
            "dsn, etrn, vrfy",
            "No delivery reports on request (RFC 3461): they would say where mail went.",
        ),
        Parameter(
            "disable_vrfy_command",
            "yes",
            "Nobody can ask whether an address exists without sending mail to it.",
        ),
        Parameter("smtpd_etrn_restrictions", "reject", "ETRN is hidden above, but would still work."),
        Parameter(
            "show_user_unknown_table_name",
            "no",
            "The same answer for every unknown address, which is also Anonmail's.",
        ),
        Parameter(
            "delay_warning_time", "0h", "No warnings about delayed mail: they would say where it waits."
        ),
        Parameter("notify_classes", "", "No transcripts of other people's sessions to the postmaster."),
        Parameter("smtpd_helo_required", "yes"),
        Parameter(
            "smtpd_forbid_bare_newline",
            "yes",
            "Otherwise another message could be smuggled in behind the end of one (SMTP smuggling).",
        ),
        Parameter(
            "smtpd_soft_error_limit",
            "3",
            "Guessing addresses is slow: after three refusals each answer is delayed,",
        ),
        Parameter("smtpd_error_sleep_time", "2s"),
        Parameter("smtpd_hard_error_limit", "10", "and after ten the connection ends."),
    ]


def unchanged_content() -> list[Parameter]:
    """What lets mail pass unchanged, so that its author's DKIM signature still verifies."""
    return [
        Parameter("smtputf8_enable", "yes"),
        Parameter("message_size_limit", str(settings.MAIL_SIZE_LIMIT), "Octets, as MAIL_SIZE_LIMIT."),
        Parameter(
            "local_header_rewrite_clients",
            "",
            "No header is completed or rewritten, not even for local clients.",
        ),
        Parameter("message_drop_headers", "", "None is removed."),
        Parameter("disable_mime_output_conversion", "yes", "8-bit mail stays 8-bit mail."),
        Parameter("smtp_line_length_limit", "0", "Long lines are not broken."),
        Parameter("lmtp_line_length_limit", "0"),
    ]


NO_POSTMASTER = (
    "MAIL_POSTMASTER is not set: mail to postmaster@ and abuse@ is refused, and what this machine"
    " sends to root (for example, from cron) waits in the queue."
)
NO_ANSWER = "451 4.3.0 Try again later"
# Postfix asks twice (smtpd_policy_service_try_limit): a client gets "try again later" after 11 seconds.
POLICY_TIMEOUT = "5s"


def policy_timeouts() -> list[Parameter]:
    """How long Postfix waits for our policy service, and its answer without ours."""
    return [
        Parameter(
            "smtpd_policy_service_default_action",
            NO_ANSWER,
            "The sender tries again if Anonmail does not answer. It answers within 3 seconds.",
        ),
        Parameter("smtpd_policy_service_timeout", POLICY_TIMEOUT),
        Parameter("smtpd_policy_service_request_limit", "0"),
    ]


def tls() -> list[Parameter]:
    """TLS in and out, with the certificate of the settings."""
    parameters = [
        Parameter("smtp_tls_security_level", "may", "TLS for outgoing mail if the other server offers it.")
    ]
    if settings.MAIL_TLS_CERTIFICATE:
        key = settings.MAIL_TLS_KEY or settings.MAIL_TLS_CERTIFICATE
        parameters += [
            Parameter(
                "smtpd_tls_chain_files",
                f"{key}, {settings.MAIL_TLS_CERTIFICATE}",
                "STARTTLS for incoming mail.",
            ),
            Parameter("smtpd_tls_security_level", "may"),
        ]
    return parameters


def reinjection_service(place: str) -> str:
    """The service of master.cf that takes back what we forward, from this machine only, to send it out."""
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
        # Filters and header checks saw it on its way in; it must not change any more.
        ("smtpd_milters", ""),
        ("content_filter", ""),
        ("receive_override_options", "no_header_body_checks"),
        ("local_header_rewrite_clients", ""),
        ("smtpd_tls_security_level", "none"),
        # Mail that did not come in through this Postfix may have an end that only this one sees: what follows
        # it would count as from this machine, which may relay.
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
