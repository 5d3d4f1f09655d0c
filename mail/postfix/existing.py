"""The lines for a Postfix that has mailboxes already, some in domains that are shared with aliases.

Two promises. Nothing but mail for our domains ever asks us: filters by regular expression stand
before each question. And an ordinary mailbox is found in Postfix's own tables before we are asked,
so that it is never diverted, and has its mail while we are away.

An alias beside mailboxes is a recipient by virtual_alias_maps, which all kinds of domains share, and
which rewrites it to a domain of our own: there it is routed by name. A socket map in transport_maps
would do without, but smtpd remembers a failed routing for as long as its process lives; and virtual(8)
opens no socket map in virtual_mailbox_maps.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from core.addresses import domain_to_unicode
from domains.models import Domain
from mail.delivery.resolve import ROUTE
from mail.postfix.lines import (
    DEFAULT_REINJECTION,
    NO_ANSWER,
    POLICY_TIMEOUT,
    Configuration,
    Line,
    NotPossible,
    fidelity,
    lmtp_transport,
    policy,
    privacy,
    reinjection_service,
    socketmap,
)
from mail.postfix.running import Running

CLASS = "anonmail_policy"
# What would change other people's mail: reports about waiting mail and headers completed for the
# site's own users. None of it can tell where an alias leads: what waits for its destination waits
# with an envelope sender of ours, and the re-injection service keeps headers as they are.
NOT_HERE = frozenset(
    {
        "delay_warning_time",
        "notify_classes",
        "smtpd_helo_required",
        "message_size_limit",
        "local_header_rewrite_clients",
        "message_drop_headers",
    }
)
# The classes of addresses that Postfix looks for, in its order (ADDRESS_CLASS_README).
CLASSES = ("mydestination", "virtual_alias_domains", "virtual_mailbox_domains", "relay_domains")


def existing(running: Running, directory: str, reinjection: str = DEFAULT_REINJECTION) -> Configuration:
    """What that Postfix needs; `directory`: where the tables will lie. Raises NotPossible."""
    if set(directory) & set(" ,{}$"):
        raise NotPossible(f"Postfix cannot name a table in {directory}: choose a --directory without spaces.")
    domains = dict(Domain.objects.order_by("name").values_list("name", "is_shared"))
    alone = _in_both_forms(name for name, is_shared in domains.items() if not is_shared)
    shared = _in_both_forms(name for name, is_shared in domains.items() if is_shared)

    def is_own(entry: str) -> bool:
        return f":{directory}/" in entry or CLASS in entry

    others = {name: running.words(name, without=is_own) for name in (*CLASSES, *_TABLES)}
    members = {name: running.members(others[name], [*alone, *shared]) for name in CLASSES}
    local = [name for name in shared if name in members["mydestination"]]
    asked = _unless_mailbox(others, directory, has_accounts=bool(local))

    def part(name: str, *own: str, why: str) -> Line:
        rest = running.written(name, without=is_own)
        return Line(name, ", ".join((*own, *rest)), why, own)

    checks = []
    if alone:
        checks.append(f"check_recipient_access regexp:{directory}/policy")
    if shared:
        checks.append(f"check_recipient_access pipemap:{{{asked},static:{CLASS}}}")
    lines = [
        part("smtpd_restriction_classes", CLASS, why="What our service is asked, and what comes after it:"),
        Line(
            CLASS,
            f"check_policy_service {{ {policy()}, timeout={POLICY_TIMEOUT}, request_limit=0,"
            f" {{ default_action = {NO_ANSWER} }} }}, reject_unlisted_recipient",
            "what an address of ours is, before a message is taken. An address that is unknown is refused"
            " at the same point as a disabled alias, so that nobody can tell them apart.",
        ),
        part(
            "smtpd_recipient_restrictions",
            *checks,
            why="Only mail for our domains asks it, and not mail for the mailboxes there.",
        ),
        part(
            "relay_domains",
            *([f"texthash:{directory}/alone"] if alone else []),
            why="The domains that are Anonmail's alone.",
        ),
        part(
            "relay_recipient_maps",
            *([f"regexp:{directory}/policy"] if alone and others["relay_recipient_maps"] else []),
            why="Who is a recipient there, the policy service knows.",
        ),
        part(
            "virtual_alias_maps",
            *([f"pipemap:{{{asked},{socketmap('recipients')},regexp:{directory}/route}}"] if shared else []),
            why=f"An alias beside mailboxes is a recipient, and goes on as alias@its-domain{ROUTE}:",
        ),
        part(
            "transport_maps",
            *([f"regexp:{directory}/transport"] if domains else []),
            why="to Anonmail, as does all mail for the domains that are Anonmail's alone.",
        ),
        *(line for line in (*privacy(), *fidelity()) if line.name not in NOT_HERE),
    ]
    tables = {
        "policy": "".join(f"/@{_pattern(name)}$/ {CLASS}\n" for name in alone),
        "alone": "".join(f"{name} anonmail\n" for name in alone),
        "transport": "".join(
            f"/{pattern}$/ {lmtp_transport()}\n"
            for pattern in (*(f"@{_pattern(name)}" for name in alone), _pattern(ROUTE))
        ),
        "shared": "".join(f"/^([^@]+@{_pattern(name)})$/ ${{1}}\n" for name in shared),
        # With its +tag, if it has one: a mailbox may be called so.
        "tagged": "".join(f"/^([^+@]+[+][^@]*@{_pattern(name)})$/ ${{1}}\n" for name in shared),
        # Without: Postfix takes no tag off before it asks a map with patterns in it.
        "bare": "".join(f"/^([^+@]+)([+][^@]*)?@{_pattern(name)}$/ ${{1}}@{name}\n" for name in shared),
        "account": "".join(f"/^([^+@]+)([+][^@]*)?@{_pattern(name)}$/ ${{1}}\n" for name in local),
        # After unionmap, "mailbox,alias@example.com" ends here.
        "alias": "/^([^,]+)$/ ${1}\n",
        "route": f"/^(.+)$/ ${{1}}{ROUTE}\n",
    }
    return Configuration(
        "a Postfix that has mailboxes already",
        # A list is left alone where nothing of ours belongs in, or out.
        [line for line in lines if line.part != () or any(map(is_own, running.words(line.name)))],
        reinjection_service(reinjection),
        reinjection,
        tables,
        directory=Path(directory),
        is_own=is_own,
        problems=_problems(domains, members),
    )


_TABLES = ("virtual_alias_maps", "virtual_mailbox_maps", "relay_recipient_maps", "local_recipient_maps")


def _unless_mailbox(others: dict[str, list[str]], directory: str, *, has_accounts: bool) -> str:
    """The start of a pipemap that lets an address of a shared domain through unless it is a mailbox."""
    # static: knows nobody, and would make a mailbox of every alias.
    tables = [
        (name, table)
        for name in _TABLES
        for table in others[name]
        if not table.startswith("static:") and (has_accounts or name != "local_recipient_maps")
    ]
    filters = {name: ["tagged", "bare"] for name in _TABLES}
    if has_accounts:
        # These tables know accounts by their local part.
        filters["virtual_alias_maps"].append("account")
        filters["local_recipient_maps"].append("account")
    known = [
        f"pipemap:{{regexp:{directory}/{each},{table},static:mailbox}}"
        for name, table in tables
        for each in filters[name]
    ]
    start = f"regexp:{directory}/shared"
    if known:
        start += f",unionmap:{{{','.join(known)},regexp:{directory}/bare}},regexp:{directory}/alias"
    else:
        start += f",regexp:{directory}/bare"
    return start


def _problems(domains: dict[str, bool], members: dict[str, set[str]]) -> list[str]:
    found = []
    for name, is_shared in domains.items():
        forms = set(_in_both_forms([name]))
        there = next((each for each in CLASSES if forms & members[each]), None)
        if is_shared and there is None:
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


def _in_both_forms(names: Iterable[str]) -> Sequence[str]:
    """Each domain as A-labels and, where they differ, as U-labels: Postfix converts neither."""
    return [form for name in names for form in dict.fromkeys((name, domain_to_unicode(name)))]
