"""The lines of main.cf and master.cf, each with its reason. docs/mail.md says how it all hangs together."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from django.conf import settings

from accounts.addresses import AddressError, domain_to_ascii, domain_to_unicode
from domains.models import Domain
from mail.listen import Endpoint, endpoint
from mail.postfix.running import Running

# Octets of the trace fields that we add before a message comes back to be sent out.
TRACE_ROOM = 64 * 1024
DEFAULT_REINJECTION = "127.0.0.1:10026"


@dataclass(frozen=True)
class Line:
    """One parameter of main.cf, and why it has this value.

    `is_part`: the value must be in a list that may hold more (what an existing Postfix has already).
    """

    name: str
    value: str
    why: str = ""
    is_part: bool = False


@dataclass
class Configuration:
    """What is written: parameters, services of master.cf, and tables by their file name."""

    title: str
    lines: list[Line]
    services: str
    reinjection: str
    tables: dict[str, str] = field(default_factory=dict)
    # `name/type` of services whose parameters are changed, as postconf -P takes them
    overrides: dict[str, str] = field(default_factory=dict)


class NotPossible(Exception):
    """A setting of ours does not let Postfix reach us; the text says which one, and what to write."""


def door(name: str, text: str) -> Endpoint:
    """The endpoint of a door that Postfix must reach. Raises NotPossible."""
    if not text:
        raise NotPossible(f"Set {name}, so that Postfix can reach this door, as {name}=127.0.0.1:2526.")
    return endpoint(text)


def postfix_name(place: Endpoint, scheme: str = "inet") -> str:
    """The endpoint as Postfix writes it: `inet:127.0.0.1:2526`, `unix:/path`."""
    if place.path:
        return f"unix:{place.path}"
    host = f"[{place.host}]" if ":" in place.host else place.host
    return f"{scheme}:{host}:{place.port}"


def _socketmap(name: str) -> str:
    place = postfix_name(door("MAIL_SOCKETMAP_LISTEN", settings.MAIL_SOCKETMAP_LISTEN))
    return f"socketmap:{place}:{name}"


def _policy() -> str:
    return f"check_policy_service {postfix_name(door('MAIL_POLICY_LISTEN', settings.MAIL_POLICY_LISTEN))}"


def lmtp_transport() -> str:
    """How Postfix hands mail over to our LMTP door (transport(5))."""
    return f"lmtp:{postfix_name(door('MAIL_LMTP_LISTEN', settings.MAIL_LMTP_LISTEN))}"


def privacy() -> list[Line]:
    """What keeps a sender from learning anything, on any Postfix in front of us."""
    return [
        Line(
            "smtpd_discard_ehlo_keywords",
            "dsn, etrn, vrfy",
            "No delivery reports to strangers, who could ask where mail went (RFC 3461).",
        ),
        Line("disable_vrfy_command", "yes", "Nobody may ask whether an address exists without mailing it."),
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


def questions() -> list[Line]:
    """How long Postfix waits for our answers, and what it says without one."""
    return [
        Line(
            "smtpd_policy_service_default_action",
            "451 4.3.0 Try again later",
            "Without our answer the sender comes again. We answer within 3 seconds.",
        ),
        Line("smtpd_policy_service_timeout", "10s"),
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
        ("smtpd_tls_security_level", "none"),
        ("smtpd_forbid_bare_newline", "no"),
        ("smtpd_client_connection_count_limit", "0"),
        ("smtpd_hard_error_limit", "1000"),
        ("smtpd_soft_error_limit", "1000"),
        ("smtpd_error_sleep_time", "0"),
        ("message_size_limit", str(settings.MAIL_SIZE_LIMIT + TRACE_ROOM)),
    ]
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
        Line("local_recipient_maps", ""),
        Line("alias_maps", ""),
        Line("mynetworks", "127.0.0.0/8 [::1]/128", "Who may send out through here: this machine."),
        Line("parent_domain_matches_subdomains", "", "A subdomain of ours is not ours."),
        Line(
            "relay_domains",
            _socketmap("domains"),
            "The domains that are ours, asked for: a new one is known within a second.",
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
            f"reject_non_fqdn_recipient, {_policy()}",
            "What an address is, before a message is taken. Spam checks of yours go before it.",
        ),
        *questions(),
        *privacy(),
        *fidelity(),
        *tls(),
        Line("queue_run_delay", "60s", "What had to wait, for a database say, is tried again soon."),
        Line("minimal_backoff_time", "60s"),
    ]
    overrides = {}
    title = "a Postfix that is Anonmail's alone"
    if before_queue:
        title += ", with Anonmail as its before-queue filter"
        place = door("MAIL_LISTEN", settings.MAIL_LISTEN)
        overrides = {
            "smtp/inet/smtpd_proxy_filter": postfix_name(place),
            "smtp/inet/smtpd_proxy_timeout": "300s",
            # One message at a time is one answer: Anonmail's own.
            "smtp/inet/smtpd_discard_ehlo_keywords": "dsn,etrn,vrfy,chunking",
        }
    return Configuration(title, lines, reinjection_service(reinjection), reinjection, overrides=overrides)


def _pattern(domain: str) -> str:
    return domain.replace(".", r"\.")


def _in_both_forms(names: Sequence[str]) -> list[str]:
    """Each domain as A-labels and, where they differ, as U-labels: Postfix converts neither."""
    return [form for name in names for form in dict.fromkeys((name, domain_to_unicode(name)))]


def existing(running: Running, directory: str, reinjection: str = DEFAULT_REINJECTION) -> Configuration:
    """For a Postfix that has mailboxes already, some in domains that are shared with aliases.

    `directory`: where the tables will lie. Nothing but mail for our domains ever asks us; and an
    ordinary mailbox is found before we are asked, so that it is never diverted. Raises NotPossible.
    """
    domains = dict(Domain.objects.order_by("name").values_list("name", "is_shared"))
    alone = _in_both_forms([name for name, is_shared in domains.items() if not is_shared])
    shared = _in_both_forms([name for name, is_shared in domains.items() if is_shared])
    ours = f"pipemap:{{regexp:{directory}/shared,{_socketmap('recipients')}}}"
    where = f"pipemap:{{regexp:{directory}/shared,{_socketmap('transport')}}}"
    lines = [
        Line(
            "smtpd_restriction_classes",
            _with(running, "smtpd_restriction_classes", "anonmail_policy"),
            "What an address of ours is, before a message is taken. Only mail for our domains asks.",
            is_part=True,
        ),
        Line("anonmail_policy", _policy()),
        Line(
            "smtpd_recipient_restrictions",
            _with(
                running,
                "smtpd_recipient_restrictions",
                f"check_recipient_access regexp:{directory}/policy",
                is_first=True,
            ),
            is_part=True,
        ),
    ]
    if alone:
        lines.append(
            Line(
                "relay_domains",
                _with(running, "relay_domains", f"texthash:{directory}/alone"),
                "The domains that are Anonmail's alone.",
                is_part=True,
            )
        )
    transports = [f"texthash:{directory}/transport"] if alone else []
    if shared:
        for name, service in (
            ("virtual_mailbox_maps", running["virtual_transport"]),
            ("relay_recipient_maps", running["relay_transport"]),
            ("local_recipient_maps", running["local_transport"]),
        ):
            maps = running.words(name)
            if not maps or (name != "virtual_mailbox_maps" and not running.holds(name, shared)):
                continue
            lines.append(
                Line(name, _with(running, name, ours), "Aliases are recipients here too.", is_part=True)
            )
            transports += [
                _ordinary(name, table, service, directory) for table in maps if "socketmap" not in table
            ]
        transports.append(where)
    lines += [
        Line(
            "transport_maps",
            _with(running, "transport_maps", *transports),
            "Aliases go to Anonmail. What is a mailbox was found before, and stays one.",
            is_part=True,
        ),
        Line(
            "recipient_delimiter",
            running["recipient_delimiter"] or "+",
            "Aliases ignore a +tag. Postfix asks with the tag first, and then without.",
        ),
        *questions(),
        *(line for line in privacy() if line.name not in {"notify_classes"}),
        *(line for line in fidelity() if line.name not in {"message_size_limit"}),
        Line(
            "message_size_limit",
            running["message_size_limit"],
            "MAIL_SIZE_LIMIT must be as much, or mail is taken that Anonmail then refuses.",
        ),
    ]
    tables = {
        "policy": "".join(f"/@{_pattern(name)}$/ anonmail_policy\n" for name in (*alone, *shared)),
        "shared": "".join(f"/^(.+@{_pattern(name)})$/ $1\n" for name in shared),
        "account": "".join(f"/^([^@]+)@{_pattern(name)}$/ $1\n" for name in shared),
        "alone": "".join(f"{name} anonmail\n" for name in alone),
        "transport": "".join(f"{name} {lmtp_transport()}\n" for name in alone),
    }
    return Configuration(
        "a Postfix that has mailboxes already",
        lines,
        reinjection_service(reinjection),
        reinjection,
        tables,
    )


def _ordinary(name: str, table: str, service: str, directory: str) -> str:
    """A transport map that finds an ordinary mailbox's own transport, wherever its table has it."""
    if name == "local_recipient_maps":
        # These tables know accounts, by their local part alone.
        return f"pipemap:{{regexp:{directory}/account,{table},static:{service}}}"
    return f"pipemap:{{{table},static:{service}}}"


def _with(running: Running, name: str, *more: str, is_first: bool = False) -> str:
    """The running value of a list, with our entries in it once."""
    there = running.words(name)
    new = [entry for entry in more if entry not in there]
    return ", ".join([*new, *there] if is_first else [*there, *new])
