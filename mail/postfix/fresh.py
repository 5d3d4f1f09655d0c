"""The configuration of a Postfix that is Anonmail's alone."""

from django.conf import settings

from core.addresses import AddressError, domain_to_ascii
from mail.delivery.message import HOPS_MAX
from mail.postfix.parameters import (
    DEFAULT_REINJECTION,
    NO_POSTMASTER,
    Configuration,
    NotPossible,
    Parameter,
    endpoint_of,
    lmtp_transport,
    policy,
    policy_timeouts,
    postfix_name,
    privacy,
    reinjection_service,
    socketmap,
    tls,
    unchanged_content,
)


def fresh(reinjection: str = DEFAULT_REINJECTION, *, before_queue: bool = False) -> Configuration:
    """The configuration of a Postfix that is Anonmail's alone. Raises NotPossible."""
    try:
        domain_to_ascii(settings.MAIL_HOSTNAME)
    except AddressError as error:
        raise NotPossible(
            "Set MAIL_HOSTNAME to this host's name, as MAIL_HOSTNAME=mx.example.com."
        ) from error
    parameters = [
        Parameter("compatibility_level", "3.6"),
        Parameter(
            "myhostname", settings.MAIL_HOSTNAME, "As MAIL_HOSTNAME; the MX record of every alias domain."
        ),
        Parameter("myorigin", "$myhostname"),
        Parameter("mydestination", "", "No mailboxes here: mail for all domains goes to Anonmail."),
        Parameter(
            "local_transport",
            "error:5.1.1 User unknown",
            "Nor for this host's own addresses, as in user@[192.0.2.1], which are refused at once.",
        ),
        Parameter("local_recipient_maps", ""),
        Parameter("alias_maps", ""),
        Parameter(
            "recipient_canonical_maps",
            f"inline:{{{{@localhost=@{settings.MAIL_HOSTNAME}}}}}",
            "What this machine sends to itself (cron to root, say) goes through Anonmail to MAIL_POSTMASTER.",
        ),
        Parameter("recipient_canonical_classes", "envelope_recipient"),
        Parameter(
            "mynetworks", "127.0.0.0/8 [::1]/128", "Only this machine may send out through this Postfix."
        ),
        Parameter("parent_domain_matches_subdomains", "", "Subdomains do not belong to a domain."),
        Parameter(
            "relay_domains",
            socketmap("domains"),
            "Anonmail's domains, from its socket map: a new one is known within a second.",
        ),
        Parameter(
            "fast_flush_domains",
            "",
            "Nobody fetches mail with ETRN. Otherwise each waiting message would be one more lookup.",
        ),
        Parameter("relay_recipient_maps", "", "The policy service knows the recipients."),
        Parameter("relay_transport", lmtp_transport(), "Mail for them goes to Anonmail."),
        Parameter("recipient_delimiter", "", "Anonmail itself ignores +tags."),
        Parameter(
            "smtpd_relay_restrictions",
            "permit_mynetworks, reject_unauth_destination",
        ),
        Parameter(
            "smtpd_recipient_restrictions",
            f"reject_non_fqdn_recipient, check_policy_service {policy()}",
            "Anonmail decides about each recipient before a message is taken. Put spam checks before it.",
        ),
        *policy_timeouts(),
        *privacy(),
        *unchanged_content(),
        *tls(),
        Parameter(
            "hopcount_limit",
            str(HOPS_MAX),
            "Anonmail's own limit for loops. RFC 5321 §6.3 requires at least 100 hops.",
        ),
        Parameter(
            "smtpd_client_connection_count_limit",
            str(settings.MAIL_CONNECTIONS_PER_CLIENT),
            "The most of Postfix's 100 processes that one client can take.",
        ),
        Parameter(
            "queue_run_delay", "60s", "What had to wait, for example for the database, is tried again soon."
        ),
        Parameter("minimal_backoff_time", "60s"),
        Parameter(
            "bounce_queue_lifetime",
            "1d",
            "A bounce may be for a forged sender: Postfix does not try for days.",
        ),
    ]
    overrides = {}
    title = "a Postfix that is Anonmail's alone"
    problems = [] if settings.MAIL_POSTMASTER else [NO_POSTMASTER]
    if before_queue:
        title += ", with Anonmail as its before-queue filter"
        place = endpoint_of("MAIL_LISTEN")
        overrides = {
            "smtp/inet/smtpd_proxy_filter": postfix_name(place),
            "smtp/inet/smtpd_proxy_timeout": "300s",
            # Without chunking, Anonmail's answer to a message is the only one.
            "smtp/inet/smtpd_discard_ehlo_keywords": "dsn,etrn,vrfy,chunking",
        }
    return Configuration(
        title,
        parameters,
        reinjection_service(reinjection),
        reinjection,
        overrides=overrides,
        problems=problems,
    )
