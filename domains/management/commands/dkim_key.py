from typing import Any

from django.core.management.base import CommandError, CommandParser

from core.audit import AuditEntry
from core.commands import RuleCommand
from domains.commands import find_domain
from domains.dkim_keys import drop_key, make_keys
from domains.dns.checking import check
from domains.dns.records import Row, rows_for
from domains.models import Domain


class Command(RuleCommand):
    help = "A domain's DKIM keys: list them with their records, make, rotate or drop them."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("domain")
        deed = parser.add_mutually_exclusive_group()
        deed.add_argument("--make", action="store_true", help="make the first keys: RSA and Ed25519")
        deed.add_argument("--rotate", action="store_true", help="make the keys that will replace the present")
        deed.add_argument("--drop", metavar="SELECTOR", help="delete a key")
        deed.add_argument("--check", action="store_true", help="ask the DNS, so that new keys begin to sign")

    def act(self, **options: Any) -> str:
        domain = find_domain(options["domain"])
        if options["make"] or options["rotate"]:
            self._make(domain, is_first=options["make"])
        elif options["drop"]:
            self._drop(domain, options["drop"])
        elif options["check"]:
            check(domain)
        # As the database has it now.
        rows = [row for row in rows_for(find_domain(domain.name)) if row.key]
        return "\n\n".join(map(_described, rows)) or f"{domain} has no DKIM keys."

    def _make(self, domain: Domain, is_first: bool) -> None:
        if domain.dkim_keys.exists() == is_first:
            instead = "has keys already: use --rotate" if is_first else "has no keys yet: use --make"
            raise CommandError(f"{domain} {instead}.")
        for key in make_keys(domain):
            AuditEntry.objects.record(None, "dkimkey.add", key)

    def _drop(self, domain: Domain, selector: str) -> None:
        key = domain.dkim_keys.filter(selector=selector).first()
        if key is None:
            raise CommandError(f"{domain} has no key {selector}.")
        AuditEntry.objects.record(None, "dkimkey.delete", key)
        drop_key(key)


def _described(row: Row) -> str:
    assert row.key is not None
    assert row.record is not None
    if not row.key.is_readable:
        state = "created under another SECRET_KEY, cannot sign"
    elif row.replaced:
        state = f"replaced on {row.replaced:%Y-%m-%d}"
    elif row.key.published:
        state = f"signs since {row.key.published:%Y-%m-%d}"
    else:
        state = f"not in the DNS yet ({row.finding.state if row.finding else 'not checked yet'})"
    return f"{row.key.selector}: {state}\n{row.record.zone_line}"
