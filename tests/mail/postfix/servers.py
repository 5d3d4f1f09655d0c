"""What matters here of the Postfix configurations of three mail servers, as they were in August 2026.

Only parameters that `postfix_config` looks at or writes, each as its server writes it, with names in braces
for its tables, which are in a database or in other containers.
"""

MAILCOW = """\
smtpd_relay_restrictions = permit_mynetworks,
  permit_sasl_authenticated,
  defer_unauth_destination
recipient_delimiter = +
mynetworks_style = subnet
disable_vrfy_command = yes
message_size_limit = 104857600
parent_domain_matches_subdomains = debug_peer_list,fast_flush_domains,mynetworks,qmqpd_authorized_clients
relay_domains = {relay_domains}
relay_recipient_maps = {relay_recipients}
smtpd_error_sleep_time = 10s
smtpd_forbid_bare_newline = yes
smtpd_hard_error_limit = ${stress?1}${stress:5}
smtpd_helo_required = yes
smtpd_recipient_restrictions = check_recipient_mx_access {mx_access},
  permit_sasl_authenticated,
  permit_mynetworks,
  check_recipient_access {tls_enforced},
  reject_invalid_helo_hostname,
  reject_unauth_destination
smtpd_sender_restrictions = permit_mynetworks,
  reject_unlisted_sender,
  reject_unknown_sender_domain
smtpd_soft_error_limit = 3
virtual_alias_maps = {aliases},
  {resources},
  {spam_aliases},
  {alias_domains}
virtual_mailbox_domains = {domains}
virtual_mailbox_maps = {mailboxes}
virtual_transport = {transport}
recipient_canonical_maps = {recipients}
recipient_canonical_classes = envelope_recipient
mydestination = localhost.localdomain, localhost
transport_maps = {custom_transport},
  {local_transport},
  {relay_transport}
smtpd_discard_ehlo_keywords = chunking, silent-discard, smtputf8
compatibility_level = 3.7
# Overrides #
"""
DOCKER_MAILSERVER = """\
compatibility_level = 3.6
smtputf8_enable = no
mydestination = $myhostname, localhost.$mydomain, localhost
mynetworks =
recipient_delimiter = +
smtpd_helo_required = yes
smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination
smtpd_recipient_restrictions = permit_sasl_authenticated, permit_mynetworks, reject_unauth_destination, \
check_policy_service {policy}, reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname
smtpd_discard_ehlo_keywords = silent-discard, dsn
disable_vrfy_command = yes
smtpd_forbid_bare_newline = yes
message_size_limit = 10240000
virtual_mailbox_domains = {etc}/vhost
virtual_mailbox_maps = texthash:{etc}/vmailbox
virtual_alias_maps = texthash:{etc}/virtual
virtual_transport = {transport}
header_checks = {header_checks}
"""
# As it is once the container has filled it in.
MAILU = """\
mydomain = site.test
myhostname = mail.site.test
myorigin = $mydomain
message_size_limit = 50000000
mynetworks = 127.0.0.1/32 192.168.203.0/24
alias_maps =
podop = {podop_table}
compatibility_level=3.6
smtpd_forbid_bare_newline=yes
mydestination =
recipient_delimiter = +
virtual_alias_domains =
virtual_alias_maps = ${podop}alias
virtual_mailbox_domains = ${podop}domain
virtual_mailbox_maps = ${podop}mailbox
relay_domains = ${podop}transport
transport_maps = {transport_map}, ${podop}transport
virtual_transport = {transport}
sender_canonical_maps = ${podop}sendermap
sender_canonical_classes = envelope_sender
smtpd_helo_required = yes
smtpd_relay_restrictions =
  permit_mynetworks,
  permit_sasl_authenticated,
  reject_unauth_destination
"""
_SQL = "proxy:mysql:/opt/postfix/conf/sql/"
# The tables as they are there.
AS_THERE = {
    "mailcow": {
        "relay_domains": f"{_SQL}mysql_virtual_relay_domain_maps.cf",
        "relay_recipients": f"{_SQL}mysql_relay_recipient_maps.cf",
        "mx_access": f"{_SQL}mysql_mbr_access_maps.cf",
        "tls_enforced": f"{_SQL}mysql_tls_enforce_in_policy.cf",
        "aliases": f"{_SQL}mysql_virtual_alias_maps.cf",
        "resources": f"{_SQL}mysql_virtual_resource_maps.cf",
        "spam_aliases": f"{_SQL}mysql_virtual_spamalias_maps.cf",
        "alias_domains": f"{_SQL}mysql_virtual_alias_domain_maps.cf",
        "domains": f"{_SQL}mysql_virtual_domains_maps.cf",
        "mailboxes": f"{_SQL}mysql_virtual_mailbox_maps.cf",
        "recipients": f"{_SQL}mysql_recipient_canonical_maps.cf",
        "transport": "lmtp:inet:dovecot:24",
        "custom_transport": "pcre:/opt/postfix/conf/custom_transport.pcre",
        "local_transport": "pcre:/opt/postfix/conf/local_transport",
        "relay_transport": f"{_SQL}mysql_relay_ne.cf",
    },
    "docker-mailserver": {
        "policy": "unix:private/policyd-spf",
        "etc": "/etc/postfix",
        "transport": "lmtp:unix:/var/run/dovecot/lmtp",
        "header_checks": "pcre:/etc/postfix/maps/header_checks.pcre",
    },
    "mailu": {
        "podop_table": "socketmap:unix:/tmp/podop.socket:",
        "transport_map": "lmdb:/etc/postfix/transport.map",
        "transport": "lmtp:inet:192.168.203.4:2525",
    },
}
MAIN_CF = {"mailcow": MAILCOW, "docker-mailserver": DOCKER_MAILSERVER, "mailu": MAILU}


def main_cf(server: str, **tables: str) -> str:
    """The server's main.cf, with its own tables or those given."""
    text = MAIN_CF[server]
    for name, table in (AS_THERE[server] | tables).items():
        # Not by str.format: main.cf is full of braces.
        text = text.replace(f"{{{name}}}", table)
    return text
