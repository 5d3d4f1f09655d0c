"""Fills an empty database for a measurement: domains, users with a token each, aliases.

`python -m bench.fill --aliases 100000 --users 200` prints the users' API keys as JSON.
"""

import argparse
import json
import os
from collections.abc import Sequence
from datetime import timedelta

DOMAINS = 20
BATCH = 2000
# Who writes to the aliases, and is written to.
CORRESPONDENT = "eve@sender.test"


def fill(
    aliases: int,
    users: int,
    far: str = "",
    numbered: int = 0,
    domain_count: int = DOMAINS,
    grants: int = 0,
    hiding: int = 0,
) -> list[str]:
    """Make `users` users of 20 domains with `aliases` aliases among them; each user's API key.

    `domain_count`: domains of the installation. `grants`: domains to which each user has a grant.
    `far`: the domain of the users' destinations; "" for their own addresses. `numbered`: so many of
    the aliases are `1n@d0.example.com` and so on, as smtp-source -N writes its recipients. `hiding`: so many
    more at d1.example.com, whose replies hide their owners, with a contact each and keys that sign.
    """
    from allauth.account.models import EmailAddress
    from django.db import connection, transaction
    from django.utils import timezone

    from accounts.models import User
    from aliases.models import Alias, AliasDestination
    from aliases.naming import words
    from contacts.addresses import new_reverse_address
    from contacts.models import Contact
    from domains.dkim_keys import make_keys
    from domains.models import AccessGrant, DkimKey, Domain
    from tokens.models import Token

    people, keys, now = [], [], timezone.now()
    with transaction.atomic():
        domains = [
            Domain.objects.create(name=f"d{number}.example.com", anonmail_enabled=True)
            for number in range(domain_count)
        ]
        for number in range(users):
            domain = domains[number % min(DOMAINS, domain_count)]
            user = User.objects.create_user(f"user{number}@{domain.name}")
            _token, secret = Token.objects.issue(owner=user, name="bench")
            destination = EmailAddress.objects.get(user=user)
            if far:
                destination = EmailAddress.objects.create(
                    user=user, email=f"user{number}@{far}", verified=True
                )
            people.append((user, domain, destination))
            AccessGrant.objects.bulk_create(
                [AccessGrant(domain=granted, user=user) for granted in domains[-grants:] if grants]
            )
            keys.append(f"{user.email}:{secret}")
    listed = words()
    for first in range(0, aliases, BATCH):
        with transaction.atomic():
            links = []
            for number in range(first, min(first + BATCH, aliases)):
                user, domain, destination = people[number % users]
                host = f"site{number // len(listed)}.test"
                moment = now - timedelta(minutes=number)
                local_part = f"site{number // len(listed)}.{listed[number % len(listed)]}"
                if number < numbered:
                    local_part, domain = f"{number + 1}n", domains[0]
                alias = Alias(
                    address=f"{local_part}@{domain.name}",
                    domain=domain,
                    owner=user,
                    note=f"Website: {host}",
                    hostname=host,
                    created=moment,
                    active_at=moment,
                )
                links.append(AliasDestination(alias=alias, address=destination))
            Alias.objects.bulk_create([link.alias for link in links])
            AliasDestination.objects.bulk_create(links)
    if hiding:
        make_keys(domains[1])
        DkimKey.objects.update(published=now)
    for number in range(hiding):
        user, _domain, destination = people[number % users]
        alias = Alias.objects.create(
            address=f"{number + 1}n@{domains[1].name}", domain=domains[1], owner=user, hides_replies=True
        )
        AliasDestination.objects.create(alias=alias, address=destination)
        reverse_address = new_reverse_address(domains[1].name)
        Contact.objects.create(alias=alias, address=CORRESPONDENT, reverse_address=reverse_address)
    with connection.cursor() as cursor:
        # VACUUM too where there is one: autovacuum would do it in the middle of a measurement.
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")
    return keys


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--aliases", type=int, required=True)
    parser.add_argument("--users", type=int, required=True)
    parser.add_argument("--far", default="")
    parser.add_argument("--numbered", type=int, default=0)
    parser.add_argument("--domains", type=int, default=DOMAINS)
    parser.add_argument("--grants", type=int, default=0)
    parser.add_argument("--hiding", type=int, default=0)
    given = parser.parse_args(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "anonmail_site.settings")
    import django

    django.setup()
    made = fill(
        given.aliases, given.users, given.far, given.numbered, given.domains, given.grants, given.hiding
    )
    print(json.dumps(made))


if __name__ == "__main__":
    main()
