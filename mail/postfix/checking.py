"""Comparing a configuration with the one that Postfix runs."""

from collections import Counter
from collections.abc import Iterator

from allauth.account.models import EmailAddress
from django.conf import settings

from domains.models import Domain
from mail.postfix.parameters import Configuration, Parameter
from mail.postfix.running import Running, split_list
from mail.server.listening import DOORS, connect, endpoints


def missing(configuration: Configuration, running: Running) -> list[str]:
    """A sentence for each thing that the running Postfix, or Anonmail itself, lacks."""
    found = [*configuration.problems, *_unreachable_own_addresses()]
    for parameter in configuration.parameters:
        found += _differs(parameter, configuration, running)
    service = f"{configuration.reinjection} inet"
    if not any(" ".join(entry.split()).startswith(service) for entry in running.services):
        found.append(
            f"master.cf has no service at {configuration.reinjection} to send out what is forwarded."
        )
    if f"smtp://{configuration.reinjection}" != settings.MAIL_NEXT_HOP:
        found.append(f"MAIL_NEXT_HOP should be smtp://{configuration.reinjection}.")
    limit = int(running["message_size_limit"] or 0)
    if limit == 0 or limit > settings.MAIL_SIZE_LIMIT:
        found.append(
            f"Postfix accepts larger messages than MAIL_SIZE_LIMIT allows ({settings.MAIL_SIZE_LIMIT})."
        )
    for name, place in endpoints().items():
        try:
            connect(place, 3).close()
        except OSError:
            found.append(f"Nothing answers at {DOORS[name]} ({place}): start `manage.py mailserver`.")
    if configuration.directory:
        for name, content in configuration.tables.items():
            path = configuration.directory / name
            if not path.is_file() or path.read_text(encoding="utf-8") != content:
                found.append(f"{path} is not up to date: write it again, and reload Postfix.")
    return found


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
    service = f"smtp/inet/{parameter.name}"
    if configuration.directory and service in running.overrides:
        # A parameter of the public service overrides main.cf.
        name, there = f"master.cf: {service}", running.overrides[service]
    if parameter.own_entries is not None:
        own = [entry for entry in split_list(there) if configuration.is_own(entry)]
        if lacking := [entry for entry in parameter.own_entries if entry not in own]:
            yield f"{name} lacks {', '.join(lacking)}."
        if stale := [entry for entry in own if entry not in parameter.own_entries]:
            yield f"{name} has {', '.join(stale)} from an earlier run."
        return
    if parameter.name == "myorigin":
        wanted = running["myhostname"]
    if split_list(there) != split_list(wanted):
        yield f"{name} should be “{wanted}”, and is “{there}”."
