"""The configuration of a Postfix that has mailboxes already, some in domains that are shared with aliases.

Two promises. Postfix asks us only about mail for our domains: filters by regular expression come before
each question. And it looks for an ordinary mailbox in its own tables before it asks us, so that the
mailbox's mail is never diverted, and arrives while we are away.

An alias beside mailboxes is a recipient by virtual_alias_maps, which all kinds of domains share, and
which rewrites it to a domain of our own: there it is routed by name. A socket map in transport_maps
would do without, but smtpd remembers a failed routing for as long as its process lives; and virtual(8)
opens no socket map in virtual_mailbox_maps.
"""

import re
from pathlib import Path

from core.addresses import domain_forms
from domains.models import Domain
from mail.delivery.resolve import ROUTE
from mail.postfix.merging import privacy
from mail.postfix.parameters import (
    NO_ANSWER,
    POLICY_TIMEOUT,
    PORT,
    Configuration,
    NotPossible,
    Parameter,
    Reinjection,
    door,
    lmtp_transport,
    socketmap,
    word,
)
from mail.postfix.running import PUBLIC, Parameters, split_list

CLASS = "anonmail_policy"
# What asks it, for services of master.cf that have restrictions of their own.
RECIPIENTS = "anonmail_recipients"
# The names of our tables, by which our entries are recognised, wherever the tables of an earlier run are.
PREFIX = "anonmail-"
_TABLE_NAMES = "policy|alone|transport|shared|tagged|bare|account|alias|route"
# The classes of addresses that Postfix looks for, in its order (ADDRESS_CLASS_README).
CLASSES = ("mydestination", "virtual_alias_domains", "virtual_mailbox_domains", "relay_domains")


def is_own(entry: str) -> bool:
    """Whether an entry of a list is ours."""
    return CLASS in entry or re.search(rf":[^ ,{{}}]*/{PREFIX}({_TABLE_NAMES})(?![\w/.-])", entry) is not None


def usual_reinjection(running: Parameters) -> Reinjection:
    """Where that Postfix takes back mail, unless the administrator says otherwise: on this machine."""
    return Reinjection(f"[::1]:{PORT}" if running["inet_protocols"] == "ipv6" else f"127.0.0.1:{PORT}")


def existing(
    running: Parameters, directory: str, reinjection: Reinjection | None = None, sockets: str = ""
) -> Configuration:
    """What that Postfix needs. `directory`: where it will find the tables; `sockets`: where it sees
    MAIL_POSTFIX_DIRECTORY, if that is elsewhere than here. Raises NotPossible."""
    word(directory, "--directory")
    reinjection = reinjection or usual_reinjection(running)
    _refuse_unusable(reinjection, running)
    domains = dict(Domain.objects.order_by("name").values_list("name", "is_shared"))
    alone = domain_forms(name for name, is_shared in domains.items() if not is_shared)
    shared = domain_forms(name for name, is_shared in domains.items() if is_shared)
    place = f"{directory}/{PREFIX}"
    others = {name: running.words(name, without=is_own) for name in (*CLASSES, *_TABLES)}
    members = {name: running.members(others[name], [*alone, *shared]) for name in CLASSES}
    local = [name for name in shared if name in members["mydestination"]]
    asked = _unless_mailbox(others, place, has_accounts=bool(local))

    def with_others(name: str, reason: str, *own: str) -> Parameter:
        own = tuple(filter(None, own))
        rest = running.written(name, without=is_own)
        return Parameter(name, ", ".join((*own, *rest)), reason, own)

    policy = door("MAIL_POLICY_LISTEN", sockets)
    alone_table = f"texthash:{place}alone" if alone else ""
    by_policy = f"regexp:{place}policy" if alone else ""
    recipients = f"pipemap:{{{asked},{socketmap(sockets)},regexp:{place}route}}" if shared else ""
    asking = tuple(
        filter(
            None,
            (
                f"check_recipient_access {by_policy}" if alone else "",
                f"check_recipient_access pipemap:{{{asked},static:{CLASS}}}" if shared else "",
            ),
        )
    )
    services = _where_people_sign_in(running)
    parameters = [
        with_others(
            "smtpd_restriction_classes", "The policy service of Anonmail, and what follows it:", CLASS
        ),
        Parameter(
            CLASS,
            f"check_policy_service {{ {policy}, timeout={POLICY_TIMEOUT}, request_limit=0,"
            f" {{ default_action = {NO_ANSWER} }} }}, reject_unlisted_recipient",
            "it decides about each recipient before a message is taken. Unknown addresses are refused at the"
            " same point as disabled aliases, so that nobody can tell them apart.",
        ),
        with_others(
            "smtpd_recipient_restrictions",
            "Postfix asks it only about mail for Anonmail's domains, except for mailboxes there.",
            *asking,
        ),
        *(
            [
                Parameter(
                    RECIPIENTS,
                    ", ".join(asking),
                    "The same for services of master.cf that have restrictions of their own, and where people"
                    " sign in: it notes who they are, so that they can reply from their aliases.",
                )
            ]
            if services
            else []
        ),
        with_others("relay_domains", "The domains that are Anonmail's alone.", alone_table),
        with_others(
            "relay_recipient_maps",
            "The policy service knows the recipients there.",
            by_policy if others["relay_recipient_maps"] else "",
        ),
        with_others(
            "virtual_alias_maps",
            f"An alias beside mailboxes is a recipient, rewritten to alias@its-domain{ROUTE}:",
            recipients,
        ),
        with_others(
            "transport_maps",
            "such mail goes to Anonmail, as does all mail for domains that are Anonmail's alone.",
            f"regexp:{place}transport" if domains else "",
        ),
        *privacy(running),
    ]
    tables = {
        "policy": "".join(f"/@{_pattern(name)}$/ {CLASS}\n" for name in alone),
        "alone": "".join(f"{name} anonmail\n" for name in alone),
        "transport": "".join(
            f"/{pattern}$/ {lmtp_transport(sockets)}\n"
            for pattern in (*(f"@{_pattern(name)}" for name in alone), _pattern(ROUTE))
        ),
        "shared": "".join(f"/^([^@]+@{_pattern(name)})$/ ${{1}}\n" for name in shared),
        # With its +tag, if it has one: it may be part of a mailbox's name.
        "tagged": "".join(f"/^([^+@]+[+][^@]*@{_pattern(name)})$/ ${{1}}\n" for name in shared),
        # Without: Postfix removes no tag before it asks a map with patterns.
        "bare": "".join(f"/^([^+@]+)([+][^@]*)?@{_pattern(name)}$/ ${{1}}@{name}\n" for name in shared),
        "account": "".join(f"/^([^+@]+)([+][^@]*)?@{_pattern(name)}$/ ${{1}}\n" for name in local),
        # After unionmap, "mailbox,alias@example.com" ends here.
        "alias": "/^([^,]+)$/ ${1}\n",
        "route": f"/^(.+)$/ ${{1}}{ROUTE}\n",
    }
    return Configuration(
        "a Postfix that has mailboxes already",
        # A list is left alone if nothing of ours must be added or removed.
        [
            parameter
            for parameter in parameters
            if parameter.own_entries != () or any(map(is_own, running.words(parameter.name)))
        ],
        reinjection,
        keeps_senders=not running["sender_canonical_maps"],
        tables={f"{PREFIX}{name}": content for name, content in tables.items()},
        directory=Path(directory),
        overrides=services,
        is_own=is_own,
        problems=_problems(domains, members, running),
    )


def _where_people_sign_in(running: Parameters) -> dict[str, str]:
    """The recipient restrictions, with ours first, of services in master.cf that have their own."""
    found = {}
    for option, value in running.overrides.items():
        service, _slash, name = option.rpartition("/")
        if name != "smtpd_recipient_restrictions" or service in PUBLIC:
            continue
        options = {key: text for key, text in running.overrides.items() if key.startswith(f"{service}/")}
        signs_in = options.get(f"{service}/smtpd_sasl_auth_enable") == "yes" or any(
            "permit_sasl_authenticated" in text for text in options.values()
        )
        if signs_in:
            theirs = [entry for entry in split_list(value) if RECIPIENTS not in entry]
            # postconf takes no white space there; a comma does as well.
            found[option] = ",".join([f"${RECIPIENTS}", *(re.sub(r"\s+", ",", entry) for entry in theirs)])
    return found


def _refuse_unusable(reinjection: Reinjection, running: Parameters) -> None:
    """Raises NotPossible if a service at that place would stop this Postfix, or be open to everybody."""
    address = reinjection.listen.rpartition(":")[0]
    family = "ipv6" if address.startswith("[") else "ipv4" if re.fullmatch(r"[0-9.]+", address) else ""
    protocols = running["inet_protocols"]
    if family and protocols in {"ipv4", "ipv6"} and protocols != family:
        raise NotPossible(
            f"inet_protocols is {protocols}: with a service at {reinjection.listen}, Postfix would not start."
            f" Use {usual_reinjection(running).listen}."
        )
    everybody = [network for network in running.words("mynetworks") if network.endswith("/0")]
    if everybody and not reinjection.networks:
        raise NotPossible(
            f"mynetworks has {everybody[0]}, so everybody could send mail through {reinjection.listen}: name"
            " the networks that may with --clients."
        )


_TABLES = ("virtual_alias_maps", "virtual_mailbox_maps", "relay_recipient_maps", "local_recipient_maps")


def _unless_mailbox(others: dict[str, list[str]], place: str, *, has_accounts: bool) -> str:
    """The start of a pipemap that lets an address of a shared domain through unless it is a mailbox."""
    filters = dict.fromkeys(_TABLES, ["tagged", "bare"])
    if has_accounts:
        # These tables know accounts by their local parts.
        filters |= dict.fromkeys(
            ("virtual_alias_maps", "local_recipient_maps"), ["tagged", "bare", "account"]
        )
    else:
        del filters["local_recipient_maps"]
    # static: knows nobody, and would make a mailbox of every alias.
    known = [
        f"pipemap:{{regexp:{place}{each},{table},static:mailbox}}"
        for name, its_filters in filters.items()
        for table in others[name]
        if not table.startswith("static:")
        for each in its_filters
    ]
    bare = f"regexp:{place}bare"
    unless = f"unionmap:{{{','.join(known)},{bare}}},regexp:{place}alias" if known else bare
    return f"regexp:{place}shared,{unless}"


def _problems(domains: dict[str, bool], members: dict[str, set[str]], running: Parameters) -> list[str]:
    found = []
    alone = domain_forms(name for name, is_shared in domains.items() if not is_shared)
    if origin := running.members([running["myorigin"]], alone):
        found.append(
            f"myorigin is {origin.pop()}, which is Anonmail's alone: what this machine sends to its own users"
            " (www-data, say) is refused. Set myorigin = $myhostname."
        )
    for name, is_shared in domains.items():
        forms = set(domain_forms([name]))
        there = next((each for each in CLASSES if forms & members[each]), None)
        if is_shared and there is None and running.knows_tables:
            found.append(
                f"{name} is marked as shared with ordinary mailboxes, but is in none of {', '.join(CLASSES)}."
            )
        elif is_shared and there == "virtual_alias_domains":
            found.append(
                f"{name} is in virtual_alias_domains, where Postfix itself delivers nothing: aliases beside"
                " its addresses work once it is in virtual_mailbox_domains or relay_domains instead."
            )
        elif not is_shared and there is not None:
            found.append(
                f"{name} is Anonmail's alone, but this Postfix has it in {there}: mark the domain as shared"
                " with ordinary mailboxes, or take it out there."
            )
    return found


def _pattern(domain: str) -> str:
    return domain.replace(".", r"\.")
