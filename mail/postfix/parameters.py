"""The parameters of main.cf and master.cf that both kinds of Postfix get, each with its reason."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path

from django.conf import settings

from core.listening import endpoint
from mail.server.socketmap import RECIPIENTS

# Octets of the trace fields that we add before a message comes back to be sent out.
TRACE_ROOM = 64 * 1024
PORT = 10026
DEFAULT_REINJECTION = f"127.0.0.1:{PORT}"
LOOPBACK = "127.0.0.0/8,[::1]/128"
_EVERY_ADDRESS = frozenset({"", "0.0.0.0", "[::]", "*"})  # noqa: S104 - refused, not bound
# A place to listen at in master.cf: a port, or an address (in brackets for IPv6) or name and a port.
_LISTEN = re.compile(r"(?:(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])?:)?[0-9]{1,5}")
# What ends or expands a word in main.cf.
_NOT_IN_A_WORD = re.compile(r"[\s,{}$\x00-\x1f\x7f]")
# The cleanup service of what comes back, where Postfix rewrites senders.
CLEANUP = "anonmail-cleanup"
# Relative to it, a path is the same for services that run chrooted.
QUEUE_DIRECTORY = "/var/spool/postfix"
# How long Postfix waits for an answer. It asks the policy twice (smtpd_policy_service_try_limit): a client
# gets "try again later" after 11 seconds.
POLICY_TIMEOUT = "5s"


@dataclass(frozen=True)
class Parameter:
    """One parameter of main.cf, and the reason for its value."""

    name: str
    value: str
    reason: str = ""
    own_entries: tuple[str, ...] | None = None  # ours, of a list that an existing Postfix may have filled


@dataclass(frozen=True)
class Reinjection:
    """The service of master.cf that takes back what we forward. Raises NotPossible.

    `reached_at`: where we find it, if that is not where it listens (a container's port that is published, or
    an address that stands for all of them). `clients`: the networks that may bring mail; without them, this
    machine at a loopback address, and mynetworks at others.
    """

    listen: str = DEFAULT_REINJECTION
    reached_at: str = ""
    clients: str = ""

    def __post_init__(self) -> None:
        if not self.reached_at and self.listen.rpartition(":")[0] in _EVERY_ADDRESS:
            raise NotPossible(
                f"{self.listen} says where Postfix listens, not how Anonmail reaches it: add --reached-at, as"
                " --reached-at 192.0.2.1:10026."
            )

    @property
    def next_hop(self) -> str:
        """What MAIL_NEXT_HOP has to be."""
        return f"smtp://{self.reached_at or self.listen}"

    @property
    def networks(self) -> str:
        """The service's mynetworks; empty for main.cf's."""
        return self.clients or (LOOPBACK if self.listen.startswith(("127.", "[::1]")) else "")


@dataclass
class Configuration:
    """What is written: parameters, the services of master.cf, and tables by their file name.

    `is_own` recognises our entries of shared lists, also those of an earlier run. `problems` are sentences
    about what no parameter can put right.
    """

    title: str
    parameters: list[Parameter]
    reinjection: Reinjection
    keeps_senders: bool = True  # of what comes back: this Postfix rewrites none
    tables: dict[str, str] = field(default_factory=dict)
    directory: Path | None = None
    # Options of services in master.cf where people sign in, by `service/type/parameter`.
    overrides: dict[str, str] = field(default_factory=dict)
    is_own: Callable[[str], bool] = lambda _entry: False
    problems: list[str] = field(default_factory=list)


class NotPossible(Exception):
    """With these settings Postfix cannot reach us; the text says which one to change, and how."""


def reinjection_from(listen: str, reached_at: str, clients: str, usual: Reinjection) -> Reinjection:
    """Where the options say that Postfix takes back mail, or else where it usually does.

    They become words of master.cf, and of scripts that run as root. Raises NotPossible if one is malformed.
    """
    if listen and not _LISTEN.fullmatch(listen):
        raise NotPossible(f"--reinjection {listen!r} is not ADDRESS:PORT, as 127.0.0.1:10026.")
    if reached_at:
        try:
            place = endpoint(reached_at)
        except ValueError:
            place = None
        if place is None or place.path or not _LISTEN.fullmatch(reached_at):
            raise NotPossible(f"--reached-at {reached_at!r} is not HOST:PORT, as mx.example.com:10026.")
    clients = ",".join(_network(each) for each in clients.replace(",", " ").split())
    if listen:
        return Reinjection(listen, reached_at, clients)
    return Reinjection(usual.listen, reached_at or usual.reached_at, clients or usual.clients)


def _network(text: str) -> str:
    """A network, as mynetworks takes it."""
    try:
        network = ip_network(re.sub(r"^\[(.*)\]", r"\1", text))
    except ValueError as error:
        raise NotPossible(f"--clients: {text!r} is not a network, as 192.0.2.0/24.") from error
    if network.prefixlen == 0:
        raise NotPossible(f"--clients: {text} is everybody, who could then send mail through this Postfix.")
    # Without brackets, Postfix takes what comes before the first colon for a type of table.
    return str(network) if network.version == 4 else f"[{network.network_address}]/{network.prefixlen}"


def word(text: str, name: str) -> str:
    """The path, which is one word in main.cf. `name`: of the setting or option that has it.

    Raises NotPossible if Postfix would read it as something else.
    """
    if _NOT_IN_A_WORD.search(text):
        raise NotPossible(
            f"Postfix cannot name {text!r}: choose a path for {name} without spaces, commas, braces and $."
        )
    return text


def shared_directory() -> str:
    """MAIL_POSTFIX_DIRECTORY. Raises NotPossible without it."""
    if not settings.MAIL_POSTFIX_DIRECTORY:
        raise NotPossible(
            "Set MAIL_POSTFIX_DIRECTORY, the directory that Anonmail and Postfix share, as"
            f" MAIL_POSTFIX_DIRECTORY={QUEUE_DIRECTORY}/anonmail."
        )
    return word(str(settings.MAIL_POSTFIX_DIRECTORY), "MAIL_POSTFIX_DIRECTORY")


def door(setting: str, sockets: str = "") -> str:
    """A door as Postfix writes it: `unix:anonmail/lmtp`, `inet:127.0.0.1:2526`. Raises NotPossible if Postfix
    cannot reach it.

    `sockets`: where Postfix sees MAIL_POSTFIX_DIRECTORY, if it runs in a container.
    """
    text = getattr(settings, setting)
    if not text:
        raise NotPossible(f"{setting} is empty, but Postfix needs this listener: remove the line.")
    place = endpoint(text)
    if not place.path:
        return f"inet:{place}"
    shared = shared_directory()
    if sockets:
        if place.path.parent != Path(shared):
            raise NotPossible(f"{setting} is not in {shared}, all that Postfix sees: remove the line.")
        return f"unix:{sockets}/{place.path.name}"
    return word(str(place), setting).replace(f"unix:{QUEUE_DIRECTORY}/", "unix:")


def milter() -> str:
    """Our milter door, as an entry of smtpd_milters."""
    place = door("MAIL_MILTER_LISTEN")
    waits = f"connect_timeout={POLICY_TIMEOUT}, command_timeout={POLICY_TIMEOUT}"
    return f"{{ {place}, {waits}, content_timeout={POLICY_TIMEOUT}, default_action=tempfail }}"


def socketmap(sockets: str = "") -> str:
    """Our socket map (mail.server.socketmap), as Postfix writes it."""
    return f"socketmap:{door('MAIL_SOCKETMAP_LISTEN', sockets)}:{RECIPIENTS}"


def lmtp_transport(sockets: str = "") -> str:
    """Our LMTP door, as a transport of Postfix (transport(5))."""
    return f"lmtp:{door('MAIL_LMTP_LISTEN', sockets)}"


def parameters_in(text: str) -> list[Parameter]:
    """The parameters in lines of main.cf; the comment above one is its reason."""
    found, reason = [], ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("#"):
            reason = f"{reason} {line[2:]}".lstrip()
        elif line:
            name, _equals, value = line.partition("=")
            found.append(Parameter(name.strip(), value.strip(), reason))
            reason = ""
    return found


# What keeps senders from learning about addresses.
PRIVACY = parameters_in("""
    # No delivery reports on request (RFC 3461): they would say where mail went.
    smtpd_discard_ehlo_keywords = dsn, etrn, vrfy
    # Nobody can ask whether an address exists without sending mail to it.
    disable_vrfy_command = yes
    # ETRN is hidden above, but would still work.
    smtpd_etrn_restrictions = reject
    # The same answer for every unknown address, which is also Anonmail's.
    show_user_unknown_table_name = no
    # No warnings about delayed mail: they would say where it waits.
    delay_warning_time = 0h
    # No transcripts of other people's sessions to the postmaster.
    notify_classes =
    smtpd_helo_required = yes
    # Otherwise another message could be smuggled in behind the end of one (SMTP smuggling).
    smtpd_forbid_bare_newline = yes
    # Guessing addresses is slow: after so many refusals each answer is delayed for so long,
    smtpd_soft_error_limit = 3
    smtpd_error_sleep_time = 2s
    # and after so many the connection ends.
    smtpd_hard_error_limit = 10
""")


def unchanged_content() -> list[Parameter]:
    """What lets mail pass unchanged, so that its author's DKIM signature still verifies."""
    return parameters_in(f"""
        smtputf8_enable = yes
        # Octets, as MAIL_SIZE_LIMIT.
        message_size_limit = {settings.MAIL_SIZE_LIMIT}
        # No header is completed or rewritten, not even for local clients.
        local_header_rewrite_clients =
        # None is removed.
        message_drop_headers =
        # 8-bit mail stays 8-bit mail.
        disable_mime_output_conversion = yes
        # Long lines are not broken.
        smtp_line_length_limit = 0
        lmtp_line_length_limit = 0
    """)


NO_ANSWER = "451 4.3.0 Try again later"


def services(configuration: Configuration) -> str:
    """The services of master.cf: what takes back what we forward, to send it out.

    Filters and header checks saw it on its way in: it must not change any more. Mail that did not come in
    through this Postfix may have an end that only this one sees: what follows it would count as from this
    machine, which may relay.
    """
    place = configuration.reinjection
    networks = f"\n  -o mynetworks={place.networks}" if place.networks else ""
    cleanup = "" if configuration.keeps_senders else f"\n  -o cleanup_service_name={CLEANUP}"
    service = f"""\
{place.listen} inet n - n - - smtpd
  -o syslog_name=postfix/anonmail-out{networks}{cleanup}
  -o smtpd_client_restrictions=permit_mynetworks,reject
  -o smtpd_helo_restrictions=
  -o smtpd_sender_restrictions=
  -o smtpd_relay_restrictions=permit_mynetworks,reject
  -o smtpd_recipient_restrictions=
  -o smtpd_data_restrictions=
  -o smtpd_end_of_data_restrictions=
  -o smtpd_proxy_filter=
  -o smtpd_milters=
  -o content_filter=
  -o receive_override_options=no_header_body_checks
  -o local_header_rewrite_clients=
  -o smtpd_tls_security_level=none
  -o smtpd_forbid_bare_newline=yes
  -o smtpd_forbid_bare_newline_exclusions=
  -o smtpd_client_connection_count_limit=0
  -o smtpd_hard_error_limit=1000
  -o smtpd_soft_error_limit=1000
  -o smtpd_error_sleep_time=0
  -o message_size_limit={settings.MAIL_SIZE_LIMIT + TRACE_ROOM}
"""
    if configuration.keeps_senders:
        return service
    # SRS would make a longer return path of ours than RFC 5321 §4.5.3.1.1 allows.
    return f"{service}{CLEANUP} unix n - n - 0 cleanup\n  -o sender_canonical_maps=\n"


def service_names(configuration: Configuration) -> list[str]:
    """Of these services, as postconf -M names them."""
    return [
        f"{configuration.reinjection.listen}/inet",
        *([] if configuration.keeps_senders else [f"{CLEANUP}/unix"]),
    ]
