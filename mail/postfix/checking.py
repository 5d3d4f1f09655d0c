"""Comparing a configuration with the one that Postfix runs."""

import errno
import getpass
import os
import pwd
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from allauth.account.models import EmailAddress
from django.conf import settings

from core.listening import Endpoint, connect, endpoint
from domains.models import Domain
from mail.postfix.parameters import CLEANUP, Configuration, Parameter
from mail.postfix.running import PUBLIC, Parameters, Running, split_list
from mail.server.domain_table import NAME, table_text
from mail.server.listening import DOORS, endpoints

# The services that connect to our listeners.
CLIENTS = frozenset({"smtpd", "lmtp", "cleanup"})


def missing(configuration: Configuration, running: Running) -> list[str]:
    """A sentence for each thing that the running Postfix, or Anonmail itself, lacks."""
    found = [*configuration.problems, *_unreachable_own_addresses()]
    for parameter in configuration.parameters:
        found += _differs(parameter, configuration, running)
    for option, value in configuration.overrides.items():
        if value.partition(",")[0] not in split_list(running.overrides.get(option, "")):
            found.append(
                f"master.cf: {option} should be “{value}”: replies that people submit have no proof."
            )
    place = configuration.reinjection.listen
    if not any(service[:2] == [place, "inet"] for service in running.services):
        found.append(f"master.cf has no service at {place} to send out what is forwarded.")
    if not configuration.keeps_senders and not any(service[0] == CLEANUP for service in running.services):
        found.append(f"master.cf has no service {CLEANUP}, which leaves our envelope senders alone.")
    found += settings_that_differ(configuration, running)
    found += _unreachable_doors(running)
    found += _too_few_connections(running)
    if configuration.directory:
        for name, content in configuration.tables.items():
            if not _has_text(path := configuration.directory / name, content):
                found.append(f"{path} is not up to date: write it again, and reload Postfix.")
    else:
        domains = dict(Domain.objects.values_list("name", "is_shared"))
        if not _has_text(path := Path(settings.MAIL_POSTFIX_DIRECTORY) / NAME, table_text(domains)):
            found.append(f"{path} is not up to date: `manage.py mailserver`, which writes it, logs why.")
    return found


def settings_that_differ(configuration: Configuration, there: Parameters) -> Iterator[str]:
    """A sentence for each setting of ours that does not fit that Postfix."""
    if configuration.reinjection.next_hop != settings.MAIL_NEXT_HOP:
        yield f"MAIL_NEXT_HOP should be {configuration.reinjection.next_hop}."
    limit = int(there["message_size_limit"] or 0)
    if limit == 0 or limit > settings.MAIL_SIZE_LIMIT:
        yield f"Postfix accepts larger messages than MAIL_SIZE_LIMIT allows ({settings.MAIL_SIZE_LIMIT})."


def _has_text(path: Path, content: str) -> bool:
    return path.is_file() and path.read_bytes() == content.encode()


def _unreachable_doors(running: Running) -> Iterator[str]:
    queue = Path(running["queue_directory"])
    is_chrooted = any(service[7] in CLIENTS and service[4] == "y" for service in running.services)
    user = running["mail_owner"] if os.geteuid() == 0 else getpass.getuser()
    for door, place in endpoints().items():
        name = f"{DOORS[door]} ({place})"
        match _error_of_connecting(user, place):
            case 0:
                if is_chrooted and place.path and door != "smtp" and not place.path.is_relative_to(queue):
                    yield (
                        f"{name} is not below {queue}, where Postfix's services are chrooted: set"
                        f" MAIL_POSTFIX_DIRECTORY={queue}/anonmail."
                    )
            case errno.EACCES:
                yield (
                    f"The user {user} cannot connect to {name}: make the directory with the owner, group and"
                    " mode that the README names, and restart `manage.py mailserver`."
                )
            case _:
                yield f"Nothing answers at {name}: start `manage.py mailserver`."


def unanswered(configuration: Configuration) -> Iterator[str]:
    """A sentence for each listener of ours, and the one of Postfix for us, that does not answer."""
    there = endpoints()
    for setting in ("lmtp", "policy", "socketmap"):
        if not _answers(there[setting]):
            yield f"Nothing answers at {DOORS[setting]} ({there[setting]}): start `manage.py mailserver`."
    if not _answers(place := endpoint(configuration.reinjection.next_hop.removeprefix("smtp://"))):
        yield f"Nothing answers at {place}, where Postfix takes back mail: restart its container."


def _answers(place: Endpoint) -> bool:
    try:
        connect(place, 3).close()
    except OSError:
        return False
    return True


def _too_few_connections(running: Running) -> Iterator[str]:
    limits = (service[6] for service in running.services if service[7] in {"smtpd", "lmtp"})
    most = max((int(running["default_process_limit"] if each == "-" else each) for each in limits), default=0)
    ours = settings.MAIL_CONNECTIONS * settings.MAIL_PROCESSES
    if most > ours:
        yield (
            f"Postfix may have {most} processes of a service that connects to Anonmail, which accepts {ours}"
            " connections: raise MAIL_CONNECTIONS, or lower the limit in master.cf or default_process_limit."
        )


def _error_of_connecting(user: str, place: Endpoint) -> int:
    """The error number of a connection that the user makes, 0 for none. Only root can be another user."""
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    error = errno.EIO
    try:
        if os.geteuid() == 0:
            account = pwd.getpwnam(user)
            os.initgroups(account.pw_name, account.pw_gid)
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
        connect(place, 3).close()
        error = 0
    except OSError as failed:
        error = failed.errno or errno.ETIMEDOUT
    finally:
        os._exit(error)


def _unreachable_own_addresses() -> list[str]:
    """A sentence for each domain that is ours alone but has users' own addresses: no mail reaches these."""
    addresses = EmailAddress.objects.filter(verified=True).values_list("email", flat=True)
    users = Counter(address.rpartition("@")[2].lower() for address in addresses.iterator())
    alone = Domain.objects.filter(is_shared=False).order_by("name").values_list("name", flat=True)
    return [
        f"{domain} is Anonmail's alone, but {users[domain]} of its users' own addresses are there, and get"
        " no mail: mark the domain as shared with ordinary mailboxes."
        for domain in alone
        if users[domain]
    ]


def _differs(parameter: Parameter, configuration: Configuration, running: Running) -> Iterator[str]:
    name, there, wanted = f"main.cf: {parameter.name}", running[parameter.name], parameter.value
    for public in PUBLIC:
        service = f"{public}/{parameter.name}"
        if configuration.directory and service in running.overrides:
            # Its parameter overrides main.cf.
            name, there = f"master.cf: {service}", running.overrides[service]
    if parameter.own_entries is not None:
        own = [entry for entry in split_list(there) if configuration.is_own(entry)]
        if lacking := [entry for entry in parameter.own_entries if entry not in own]:
            yield f"{name} lacks {', '.join(lacking)}."
        if stale := [entry for entry in own if entry not in parameter.own_entries]:
            yield f"{name} has {', '.join(stale)} from an earlier run."
        return
    wanted = running.expanded(wanted)
    if running.as_written(parameter.name) != parameter.value and split_list(there) != split_list(wanted):
        yield f"{name} should be “{wanted}”, and is “{there}”."
