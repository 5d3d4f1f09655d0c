"""While machines are upgraded one after the other, the release before runs on the new schema.

`last_release.txt` names its commit: change it when a release is made.
"""

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from io import BytesIO
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.db import connection
from django.db.models import ForeignKey

from core.db.foreign_keys import action_of
from tests.conftest import missing
from tests.rig.foreign_keys import actions
from tests.rig.postgresql import another_database

COMMIT = Path(__file__).with_name("last_release.txt").read_text().strip()
# What creates aliases, by hand and by the API, and forwards mail.
ITS_TESTS = (
    "tests/aliases/test_issuing.py",
    "tests/api/simplelogin/test_random_alias.py",
    "tests/mail/delivery/test_forwarding.py",
)
_TABLES = """
import json, django
django.setup()
from django.apps import apps
print(json.dumps({
    model._meta.db_table: [field.column for field in model._meta.local_concrete_fields]
    for model in apps.get_models(include_auto_created=True) if not model._meta.proxy
}))
"""
# A person with a row in each of the tables that came with this release.
_FILL = """
import django
django.setup()
from allauth.account.models import EmailAddress
from accounts.models import User
from accounts.models.identity import Identity
from aliases.models.name_space import NameSpace
from domains.models import Domain
from hooks.models import Hook, HookMessage
from mail.models import DestinationKey
from rules.models import Rule
alice = User.objects.create_user("alice@example.net", "alice-password-1")
first, second = (
    EmailAddress.objects.create(user=alice, email=f"{name}@example.net", verified=True) for name in "ab"
)
Identity.objects.create(user=alice, issuer="https://sso.example.net", subject="1")
for number, name in enumerate(("example.com", "example.org")):
    space = NameSpace.objects.create(domain=Domain.objects.create(name=name), owner=alice)
    for address in (first, second):
        space.rules.create(glob=address.email[0], address=address)
hook, _secret = Hook.objects.make(owner=alice, url="https://example.net/hook", events=["alias.created"])
HookMessage.objects.create(hook=hook, about=alice, event="alias.created", body="{}")
rule = Rule.objects.create(owner=alice, name="One", forwards=True)
for address in (first, second):
    rule.links.create(address=address)
    DestinationKey.objects.create(destination=address, fingerprint=address.email, certificate=b"")
"""
# What a person, and then an admin, does on a host that is still of the release before.
_DELETE = """
import django
django.setup()
from allauth.account.models import EmailAddress
from accounts.models import User
from domains.models import Domain
EmailAddress.objects.get(email="a@example.net").delete()
Domain.objects.get(name="example.com").delete()
"""
_DELETE_ALICE = """
import django
django.setup()
from accounts.models import User
User.objects.get(email="alice@example.net").delete()
"""
_LEFT = """
import json, django
django.setup()
from allauth.account.models import EmailAddress
from accounts.models.identity import Identity
from aliases.models.name_space import NameRule, NameSpace
from hooks.models import Hook
from mail.models import DestinationKey
from rules.models import Rule, RuleDestination
print(json.dumps({
    "addresses": sorted(EmailAddress.objects.values_list("email", flat=True)),
    "connected accounts": Identity.objects.count(),
    "name spaces": list(NameSpace.objects.values_list("domain__name", flat=True)),
    "rules of names": list(NameRule.objects.values_list("glob", flat=True)),
    "hooks": Hook.objects.count(),
    "keys": list(DestinationKey.objects.values_list("fingerprint", flat=True)),
    "rules": Rule.objects.count(),
    "their destinations": sorted(map(str, RuleDestination.objects.values_list("address__email", flat=True))),
}))
"""


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last release's code."""
    try:
        archive = subprocess.run(
            ["git", "archive", COMMIT], cwd=settings.BASE_DIR, capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        missing("the last release (its commit is not in this copy of the history)")
    directory = tmp_path_factory.mktemp("release")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as tar:
        tar.extractall(directory, filter="data")
    return directory


def run(directory: Path, *command: str, **environment: str) -> str:
    """What Python says in that directory, on settings of its own."""
    environment = {"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "tests.settings", **environment}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def newer_database(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The settings that name an empty database with this revision's tables."""
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path / 'newer.sqlite3'}"
        if connection.vendor == "postgresql":
            request.getfixturevalue("db")
            url = stack.enter_context(another_database())
        named = {"DATABASE_URL": url, "VAR_DIR": str(tmp_path / "var")}
        run(settings.BASE_DIR, "manage.py", "migrate", "-v0", **named)
        yield named


@pytest.mark.django_db
def test_all_that_the_last_release_reads_and_writes_is_there_and_no_more_is_needed(
    release: Path,
) -> None:
    tables: dict[str, list[str]] = json.loads(run(release, "-c", _TABLES))

    gone, needed = [], []
    with connection.cursor() as cursor:
        there = connection.introspection.table_names(cursor)
        for table, known in tables.items():
            columns = {
                column.name: column
                for column in (
                    connection.introspection.get_table_description(cursor, table) if table in there else ()
                )
            }
            gone += [f"{table}.{name}" for name in known if name not in columns]
            # It inserts without these: they need a db_default, or must be nullable.
            needed += [
                f"{table}.{name}"
                for name, column in columns.items()
                if name not in known and not column.null_ok and column.default is None
            ]

    assert (gone, needed) == ([], [])


@pytest.mark.django_db
def test_the_database_follows_each_foreign_key_that_the_last_release_does_not_know(release: Path) -> None:
    tables: dict[str, list[str]] = json.loads(run(release, "-c", _TABLES))

    wanted: dict[str, dict[str, str]] = {}
    for model in apps.get_models(include_auto_created=True):
        table = model._meta.db_table
        for field in model._meta.local_concrete_fields:
            is_new = field.column not in tables.get(table, ())
            if is_new and isinstance(field, ForeignKey) and field.db_constraint:
                wanted.setdefault(table, {})[field.column] = action_of(field)
    found = {
        table: {column: action for column, action in actions(table).items() if column in columns}
        for table, columns in wanted.items()
    }

    assert found == wanted
    # One that refuses a deletion (PROTECT) would refuse it to a release that cannot say why.
    assert all(action for columns in wanted.values() for action in columns.values()), wanted


def test_the_last_release_deletes_who_has_what_it_does_not_know(
    release: Path, newer_database: dict[str, str]
) -> None:
    now = partial(run, settings.BASE_DIR, **newer_database)
    now("-c", _FILL)
    before = partial(run, release, **newer_database)

    before("-c", _DELETE)
    some = json.loads(now("-c", _LEFT))
    before("-c", _DELETE_ALICE)
    none = json.loads(now("-c", _LEFT))

    assert some == {
        "addresses": ["alice@example.net", "b@example.net"],
        "connected accounts": 1,
        "name spaces": ["example.org"],
        "rules of names": ["b"],
        "hooks": 1,
        "keys": ["b@example.net"],
        "rules": 1,
        "their destinations": ["None", "b@example.net"],
    }
    assert not any(none.values()), none


@pytest.mark.sqlite
def test_the_last_release_passes_its_tests_on_the_new_schema(
    release: Path, newer_database: dict[str, str], tmp_path: Path
) -> None:
    database = newer_database["DATABASE_URL"].removeprefix("sqlite:///")
    (release / "tests" / "on_newer_schema.py").write_text(
        "from tests.settings import *\n"
        "from tests.settings import DATABASES\n"
        f'DATABASES["default"]["TEST"] = {{"NAME": {database!r}}}\n'
    )

    said = run(
        release,
        # Its examples of Hypothesis's are about text, and a busy machine is too slow for them.
        *("-m", "pytest", "-q", "--reuse-db", "-p", "no:cacheprovider", "-m", "not hypothesis", *ITS_TESTS),
        DJANGO_SETTINGS_MODULE="tests.on_newer_schema",
        VAR_DIR=str(tmp_path / "var"),
    )

    assert " passed" in said
