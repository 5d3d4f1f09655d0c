"""The configuration of a Postfix that is Anonmail's alone."""

from dataclasses import replace

from django.conf import settings

from core.addresses import AddressError, domain_to_ascii
from mail.delivery.message import HOPS_MAX
from mail.postfix.parameters import (
    NO_ANSWER,
    POLICY_TIMEOUT,
    PRIVACY,
    Configuration,
    NotPossible,
    Parameter,
    Reinjection,
    door,
    lmtp_transport,
    milter,
    parameters_in,
    shared_directory,
    unchanged_content,
    word,
)
from mail.server.domain_table import NAME

NO_POSTMASTER = (
    "MAIL_POSTMASTER is not set: mail to postmaster@ and abuse@ is refused, and what this machine"
    " sends to root (for example, from cron) waits in the queue."
)


def fresh(reinjection: Reinjection | None = None, *, with_milter: bool = False) -> Configuration:
    """The configuration of a Postfix that is Anonmail's alone. Raises NotPossible."""
    host = settings.MAIL_HOSTNAME
    try:
        domain_to_ascii(host)
    except AddressError as error:
        raise NotPossible(
            "Set MAIL_HOSTNAME to this host's name, as MAIL_HOSTNAME=mx.example.com."
        ) from error
    mail_for_us = parameters_in(f"""
        compatibility_level = 3.6
        # As MAIL_HOSTNAME; the MX record of every alias domain.
        myhostname = {host}
        myorigin = $myhostname
        # No mailboxes here: mail for all domains goes to Anonmail.
        mydestination =
        # Nor for this host's own addresses, as in user@[192.0.2.1], which are refused at once.
        local_transport = error:5.1.1 User unknown
        local_recipient_maps =
        alias_maps =
        # What this machine sends to itself (cron to root, say) goes through Anonmail to MAIL_POSTMASTER.
        recipient_canonical_maps = inline:{{{{@localhost=@{host}}}}}
        recipient_canonical_classes = envelope_recipient
        # Only this machine may send out through this Postfix.
        mynetworks = 127.0.0.0/8 [::1]/128
        # Subdomains do not belong to a domain.
        parent_domain_matches_subdomains =
        # Anonmail's domains, in a table that its mail server keeps up to date. Postfix looks every ten
        # seconds whether it has changed.
        relay_domains = $default_database_type:{shared_directory()}/{NAME}
        # Nobody fetches mail with ETRN. Otherwise each waiting message would be one more lookup.
        fast_flush_domains =
        # The policy service knows the recipients.
        relay_recipient_maps =
        # Mail for them goes to Anonmail.
        relay_transport = {lmtp_transport()}
        # Anonmail itself ignores +tags.
        recipient_delimiter =
        smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
    """)
    asked = _with_milter() if with_milter else _with_policy()
    certificate = word(settings.MAIL_TLS_CERTIFICATE, "MAIL_TLS_CERTIFICATE")
    key = word(settings.MAIL_TLS_KEY, "MAIL_TLS_KEY") or certificate
    incoming_tls = f"""
        # STARTTLS for incoming mail.
        smtpd_tls_chain_files = {key}, {certificate}
        smtpd_tls_security_level = may
    """
    rest = parameters_in(f"""
        # TLS for outgoing mail if the other server offers it.
        smtp_tls_security_level = may
        {incoming_tls if certificate else ""}
        # Anonmail's own limit for loops. RFC 5321 §6.3 requires at least 100 hops.
        hopcount_limit = {HOPS_MAX}
        # The most of Postfix's 100 processes that one client can take.
        smtpd_client_connection_count_limit = {settings.MAIL_CONNECTIONS_PER_CLIENT}
        # What had to wait, for example for the database, is tried again soon.
        queue_run_delay = 60s
        minimal_backoff_time = 60s
        # A bounce may be for a forged sender: Postfix does not try for days.
        bounce_queue_lifetime = 1d
    """)
    title = "a Postfix that is Anonmail's alone" + (", with Anonmail as its milter" if with_milter else "")
    return Configuration(
        title,
        [*mail_for_us, *asked, *PRIVACY, *unchanged_content(), *rest],
        reinjection or Reinjection(),
        is_own=lambda entry: with_milter and entry == milter(),
        problems=[] if settings.MAIL_POSTMASTER else [NO_POSTMASTER],
    )


def _with_policy() -> list[Parameter]:
    policy = door("MAIL_POLICY_LISTEN")
    return parameters_in(f"""
        # Anonmail decides about each recipient before a message is taken. Put spam checks before it.
        smtpd_recipient_restrictions = reject_non_fqdn_recipient, check_policy_service {policy}
        # The sender tries again if Anonmail does not answer. It answers within 3 seconds.
        smtpd_policy_service_default_action = {NO_ANSWER}
        smtpd_policy_service_timeout = {POLICY_TIMEOUT}
        smtpd_policy_service_request_limit = 0
    """)


def _with_milter() -> list[Parameter]:
    restrictions, milters = parameters_in(f"""
        # Put spam checks here.
        smtpd_recipient_restrictions = reject_non_fqdn_recipient
        # Anonmail decides about each recipient before a message is taken, and changes the envelope before it
        # is queued. Put other milters (rspamd) before it. The sender tries again if Anonmail does not answer.
        # It answers within 3 seconds.
        smtpd_milters = {milter()}
    """)
    return [restrictions, replace(milters, own_entries=(milters.value,))]
