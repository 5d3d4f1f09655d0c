"""What `postfix_config` writes, and what `--check` finds in a Postfix's configuration; none need run."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

import pytest
from allauth.account.models import EmailAddress
from django.core.management import CommandError, call_command
from pytest_django import Settings

from accounts.models import User
from core.listening import listening_socket
from domains.models import Domain
from mail.postfix.running import Running, split_list
from mail.server import programs
from mail.server.domain_table import table_text
from mail.server.listening import endpoints
from tests.conftest import missing
from tests.rig.mta import Ports, directory

# In one round: what postconf says does not depend on our database.
pytestmark = pytest.mark.postgresql

MASTER_CF = "smtp inet n - n - - smtpd\nlmtp unix - - n - - lmtp\n"
EXISTING_MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {queue}
myhostname = mx.site.test
mydestination = $myhostname
virtual_mailbox_domains = shared.test, theirs.test
virtual_mailbox_maps = texthash:{etc}/vmailbox
smtpd_recipient_restrictions = reject_rbl_client dnsbl.test, reject_unauth_destination
"""
AGREED = "Postfix and Anonmail agree: nothing is missing.\n"


@dataclass
class Place:
    """A directory like /etc/postfix, and the one that `postfix_config` writes."""

    etc: Path
    written: Path
    settings: Settings
    variant: tuple[str, ...] = ("fresh",)
    out: StringIO = field(default_factory=StringIO)

    def command(self, *options: str) -> str:
        # Postfix's programs wait while a main.cf is younger than two seconds.
        os.utime(self.etc / "main.cf", (0, 0))
        self.out = StringIO()
        call_command(
            "postfix_config",
            *self.variant,
            f"--directory={self.written}",
            f"--postfix={self.etc}",
            *options,
            stdout=self.out,
            stderr=self.out,
        )
        return self.out.getvalue()

    def check(self) -> list[str]:
        """What `--check` finds."""
        try:
            out = self.command("--check")
        except CommandError as error:
            out, said = self.out.getvalue(), str(error)
        else:
            said = ""
        found = [line.removeprefix("- ") for line in out.splitlines() if line.startswith("- ")]
        assert said == {0: "", 1: "1 thing is missing."}.get(len(found), f"{len(found)} things are missing.")
        assert (out == AGREED) is (not found)
        return found

    def edit(self, name: str, old: str, new: str) -> None:
        """Change a file of Postfix's by hand."""
        content = (self.etc / name).read_text()
        assert old in content
        (self.etc / name).write_text(content.replace(old, new))

    def append(self, line: str) -> None:
        """Add a line to main.cf: the last one wins."""
        with (self.etc / "main.cf").open("a") as file:
            file.write(f"{line}\n")


@pytest.fixture
def instance() -> Iterator[Path]:
    """The directory of a Postfix: pytest's own is too deep for a UNIX socket's path."""
    with directory() as made:
        yield made


@pytest.fixture
def place(tmp_path: Path, instance: Path, settings: Settings, db: None) -> Place:
    if shutil.which("postconf") is None:
        missing("Postfix")
    for name, value in Ports.free(instance / "queue").settings().items():
        setattr(settings, name, value)
    settings.MAIL_NEXT_HOP = "smtp://127.0.0.1:10026"
    settings.MAIL_POSTMASTER = "boss@boss.test"
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/master.cf").write_text(MASTER_CF)
    queue = f"queue_directory = {instance}/queue\n"
    (tmp_path / "etc/main.cf").write_text(f"compatibility_level = 3.6\n{queue}")
    return Place(tmp_path / "etc", tmp_path / "written", settings)


@pytest.fixture
def fresh(place: Place, request: pytest.FixtureRequest) -> Place:
    """A Postfix that has what was written; an indirect parameter adds options."""
    place.variant = ("fresh", *getattr(request, "param", ()))
    place.command()
    with (place.etc / "main.cf").open("a") as file:
        file.write((place.written / "main.cf").read_text())
    (place.etc / "master.cf").write_text(MASTER_CF + (place.written / "master.cf").read_text())
    table(place).write_text(table_text({}))
    return place


def table(place: Place) -> Path:
    """What the mail server makes Postfix's table of domains of."""
    return Path(place.settings.MAIL_POSTFIX_DIRECTORY) / "domains"


@pytest.fixture
def existing(place: Place, instance: Path) -> Place:
    """A Postfix with mailboxes that has what was written, the domain shared.test shared, ours.test not."""
    Domain.objects.create(name="shared.test", is_shared=True)
    Domain.objects.create(name="ours.test")
    place.variant = ("existing",)
    (place.etc / "main.cf").write_text(EXISTING_MAIN_CF.format(etc=place.etc, queue=instance / "queue"))
    (place.etc / "vmailbox").write_text("bob@shared.test bob/\n")
    place.settings.MAIL_SIZE_LIMIT = 10240000  # Postfix's own
    apply(place)
    return place


def apply(place: Place) -> None:
    """What the README of the existing variant says, by other means: tests/postfix runs its commands."""
    place.command()
    lines = [
        line for line in (place.written / "main.cf").read_text().splitlines() if line and line[:1] != "#"
    ]
    set_now = {line.partition(" =")[0] for line in lines}
    rest = [
        line
        for line in (place.etc / "main.cf").read_text().splitlines()
        if line.partition(" =")[0] not in set_now
    ]
    (place.etc / "main.cf").write_text("\n".join(rest + lines) + "\n")
    (place.etc / "master.cf").write_text(MASTER_CF + (place.written / "master.cf").read_text())


@pytest.fixture
def doors(place: Place) -> Iterator[None]:
    """Something listens at each door."""
    with ExitStack() as stack:
        for endpoint in endpoints().values():
            stack.enter_context(listening_socket(endpoint))
        yield


@pytest.mark.parametrize("fresh", [(), ("--milter",)], indirect=True)
def test_nothing_is_missing_where_it_was_done_as_written(fresh: Place, doors: None) -> None:
    assert fresh.check() == []


def test_nothing_is_missing_on_an_existing_one(existing: Place, doors: None) -> None:
    assert existing.check() == []


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda place: place.edit("main.cf", "disable_vrfy_command = yes\n", ""),
            "main.cf: disable_vrfy_command should be “yes”, and is “no”.",
        ),
        (
            lambda place: place.append("mynetworks = 0.0.0.0/0"),
            "main.cf: mynetworks should be “127.0.0.0/8 [::1]/128”, and is “0.0.0.0/0”.",
        ),
        (
            lambda place: (place.etc / "master.cf").write_text(MASTER_CF),
            "master.cf has no service at 127.0.0.1:10026 to send out what is forwarded.",
        ),
        (
            lambda place: setattr(place.settings, "MAIL_POSTMASTER", ""),
            "MAIL_POSTMASTER is not set: mail to postmaster@ and abuse@ is refused, and what this machine"
            " sends to root (for example, from cron) waits in the queue.",
        ),
        (
            lambda place: setattr(place.settings, "MAIL_NEXT_HOP", "maildir:///srv/mail"),
            "MAIL_NEXT_HOP should be smtp://127.0.0.1:10026.",
        ),
    ],
    ids=["a missing parameter", "a wrong value", "no re-injection", "no postmaster", "the next hop"],
)
def test_each_thing_that_is_wrong_is_named(
    spoil: Callable[[Place], object], sentence: str, fresh: Place, doors: None
) -> None:
    spoil(fresh)

    assert fresh.check() == [sentence]


@pytest.mark.parametrize("fresh", [("--milter",)], indirect=True)
def test_a_milter_that_is_not_set_is_named(fresh: Place, doors: None) -> None:
    (ours,) = (
        line.partition(" = ")[2]
        for line in (fresh.etc / "main.cf").read_text().splitlines()
        if line.startswith("smtpd_milters = ")
    )

    fresh.append(f"smtpd_milters = inet:127.0.0.1:11332, {ours}")
    assert fresh.check() == []
    fresh.append("smtpd_milters = inet:127.0.0.1:11332")
    assert fresh.check() == [f"main.cf: smtpd_milters lacks {ours}."]


@pytest.mark.parametrize(
    ("listen", "written"),
    [
        ("unix:/var/spool/postfix/anonmail/{}", "unix:anonmail/{}"),
        ("unix:/run/anonmail/{}", "unix:/run/anonmail/{}"),
        ("127.0.0.1:2526", "inet:127.0.0.1:2526"),
    ],
)
def test_doors_are_written_as_chrooted_services_see_them(place: Place, listen: str, written: str) -> None:
    for name in ("lmtp", "policy", "milter"):
        setattr(place.settings, f"MAIL_{name.upper()}_LISTEN", listen.format(name))

    place.command()
    with_policy = (place.written / "main.cf").read_text()
    place.variant = ("fresh", "--milter")
    place.command()
    with_milter = (place.written / "main.cf").read_text()

    for main_cf in (with_policy, with_milter):
        assert f"\nrelay_transport = lmtp:{written.format('lmtp')}\n" in main_cf
    assert f", check_policy_service {written.format('policy')}\n" in with_policy
    assert f"\nsmtpd_milters = {{ {written.format('milter')}, connect_timeout=" in with_milter


@pytest.mark.parametrize(
    ("variant", "setting"),
    [
        (("fresh",), "MAIL_LMTP_LISTEN"),
        (("fresh",), "MAIL_POLICY_LISTEN"),
        (("fresh", "--milter"), "MAIL_MILTER_LISTEN"),
        (("existing",), "MAIL_POLICY_LISTEN"),
    ],
)
def test_a_door_that_is_turned_off_is_named(place: Place, variant: tuple[str, ...], setting: str) -> None:
    setattr(place.settings, setting, "")
    place.variant = variant

    with pytest.raises(CommandError, match=f"{setting} is empty"):
        place.command()


@pytest.mark.parametrize("variant", ["fresh", "existing"])
def test_the_directory_shared_with_postfix_is_asked_for(place: Place, variant: str) -> None:
    place.settings.MAIL_POSTFIX_DIRECTORY = ""
    place.variant = (variant,)

    with pytest.raises(CommandError, match="MAIL_POSTFIX_DIRECTORY=/var/spool/postfix/anonmail"):
        place.command()


def test_the_readme_makes_that_directory_for_the_owner_of_our_data(place: Place, tmp_path: Path) -> None:
    place.settings.VAR_DIR = tmp_path
    owner = tmp_path.owner()

    place.command()

    command = f"install -d -m 2750 -o {owner} -g postfix {place.settings.MAIL_POSTFIX_DIRECTORY}\n"
    assert command in (place.written / "README").read_text()


@pytest.mark.parametrize("limit", ["0", "99999999"])
def test_a_postfix_that_takes_larger_messages_than_we_is_named(
    limit: str, existing: Place, doors: None
) -> None:
    existing.append(f"message_size_limit = {limit}")

    assert existing.check() == ["Postfix accepts larger messages than MAIL_SIZE_LIMIT allows (10240000)."]


@pytest.mark.parametrize(
    "raised",
    [
        lambda place: place.append("default_process_limit = 500"),
        lambda place: place.edit("master.cf", "lmtp unix - - n - - lmtp", "lmtp unix - - n - 500 lmtp"),
    ],
)
def test_more_processes_of_postfix_than_we_accept_connections_are_named(
    raised: Callable[[Place], None], fresh: Place, doors: None
) -> None:
    raised(fresh)

    assert fresh.check() == [
        "Postfix may have 500 processes of a service that connects to Anonmail, which accepts 200"
        " connections: raise MAIL_CONNECTIONS, or lower the limit in master.cf or default_process_limit."
    ]
    fresh.settings.MAIL_PROCESSES = 3
    assert fresh.check() == []


def test_each_door_that_does_not_answer_is_named(fresh: Place) -> None:
    found = fresh.check()

    assert len(found) == 5
    policy = fresh.settings.MAIL_POLICY_LISTEN
    assert f"Nothing answers at MAIL_POLICY_LISTEN ({policy}): start `manage.py mailserver`." in found


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
@pytest.mark.parametrize("spoil", [lambda shared: shared.chmod(0o700), lambda shared: os.chown(shared, 0, 0)])
def test_doors_that_postfixs_user_cannot_open_are_named(
    spoil: Callable[[Path], None], fresh: Place, doors: None
) -> None:
    spoil(Path(fresh.settings.MAIL_POSTFIX_DIRECTORY))

    found = fresh.check()

    assert len(found) == 4
    policy = fresh.settings.MAIL_POLICY_LISTEN
    assert (
        f"The user postfix cannot connect to MAIL_POLICY_LISTEN ({policy}): make the directory with the"
        " owner, group and mode that the README names, and restart `manage.py mailserver`."
    ) in found


def test_doors_that_chrooted_services_do_not_see_are_named(fresh: Place, doors: None) -> None:
    fresh.append("queue_directory = /var/spool/postfix")
    assert fresh.check() == []
    fresh.edit("master.cf", "smtp inet n - n - - smtpd", "smtp inet n - y - - smtpd")

    found = fresh.check()

    assert len(found) == 4
    policy = fresh.settings.MAIL_POLICY_LISTEN
    assert (
        f"MAIL_POLICY_LISTEN ({policy}) is not below /var/spool/postfix, where Postfix's services are"
        " chrooted: set MAIL_POSTFIX_DIRECTORY=/var/spool/postfix/anonmail."
    ) in found


@pytest.mark.parametrize(
    "spoil", [lambda table: table.unlink(), lambda table: table.write_text("x.test x\n")]
)
def test_a_table_of_domains_that_is_out_of_date_is_named(
    spoil: Callable[[Path], object], fresh: Place, doors: None
) -> None:
    spoil(table(fresh))

    assert fresh.check() == [
        f"{table(fresh)} is not up to date: `manage.py mailserver`, which writes it, logs why."
    ]


def test_a_relay_domains_of_another_kind_is_named(fresh: Place, doors: None) -> None:
    fresh.append("relay_domains = example.com")

    assert fresh.check() == [f"main.cf: relay_domains should be “hash:{table(fresh)}”, and is “example.com”."]


def test_tables_that_are_out_of_date_are_named(existing: Place, doors: None) -> None:
    (existing.written / "anonmail-alone").write_text("other.test anonmail\n")

    assert existing.check() == [
        f"{existing.written / 'anonmail-alone'} is not up to date: write it again, and reload Postfix."
    ]


def test_an_entry_of_a_list_that_is_missing_or_old_is_named(existing: Place, doors: None) -> None:
    existing.edit("main.cf", "transport_maps = regexp:", "transport_maps = texthash:")

    assert existing.check() == [
        f"main.cf: transport_maps lacks regexp:{existing.written}/anonmail-transport.",
        f"main.cf: transport_maps has texthash:{existing.written}/anonmail-transport from an earlier run.",
    ]


def test_a_parameter_of_the_public_service_that_hides_ours_is_named(existing: Place, doors: None) -> None:
    existing.edit(
        "master.cf", "- smtpd\nlmtp", "- smtpd\n  -o smtpd_recipient_restrictions=permit_mynetworks\nlmtp"
    )

    (sentence,) = existing.check()

    assert sentence.startswith(
        "master.cf: smtp/inet/smtpd_recipient_restrictions lacks check_recipient_access"
    )


def test_a_domain_that_stops_being_shared_changes_places(existing: Place, doors: None) -> None:
    Domain.objects.filter(name="shared.test").update(is_shared=False)
    existing.edit("main.cf", "shared.test, theirs.test", "theirs.test")

    before = existing.check()
    apply(existing)

    assert f"main.cf: virtual_alias_maps has pipemap:{{regexp:{existing.written}/anonmail-shared" in "".join(
        before
    )
    assert existing.check() == []
    running = Running(existing.etc)
    assert running["virtual_alias_maps"] == ""
    assert running.words("smtpd_recipient_restrictions") == [
        f"check_recipient_access regexp:{existing.written}/anonmail-policy",
        "reject_rbl_client dnsbl.test",
        "reject_unauth_destination",
    ]


@pytest.mark.parametrize(
    ("name", "is_shared", "main_cf", "sentence"),
    [
        (
            "elsewhere.test",
            True,
            "",
            "elsewhere.test is marked as shared with ordinary mailboxes, but is in none of mydestination,"
            " virtual_alias_domains, virtual_mailbox_domains, relay_domains.",
        ),
        (
            "theirs.test",
            False,
            "",
            "theirs.test is Anonmail's alone, but this Postfix has it in virtual_mailbox_domains: mark the"
            " domain as shared with ordinary mailboxes, or take it out there.",
        ),
        (
            "old.test",
            True,
            "virtual_alias_domains = inline:{old.test=x}",
            "old.test is in virtual_alias_domains, where Postfix itself delivers nothing: aliases beside"
            " its addresses work once it is in virtual_mailbox_domains or relay_domains instead.",
        ),
    ],
)
def test_a_domain_that_postfix_knows_otherwise_is_named(
    name: str, is_shared: bool, main_cf: str, sentence: str, existing: Place, doors: None
) -> None:
    Domain.objects.create(name=name, is_shared=is_shared)
    existing.append(main_cf)
    apply(existing)

    assert existing.check() == [sentence]
    assert f"- {sentence}" in existing.command()


def test_own_addresses_in_a_domain_that_is_ours_alone_are_named(existing: Place, doors: None) -> None:
    for address in ("ann@ours.test", "ben@ours.test", "cleo@shared.test", "dan@elsewhere.test"):
        User.objects.create_user(address, "a-password-123")
    owner = User.objects.get(email="dan@elsewhere.test")
    EmailAddress.objects.create(user=owner, email="dan@ours.test", verified=False)

    assert existing.check() == [
        "ours.test is Anonmail's alone, but 2 of its users' own addresses are there, and get"
        " no mail: mark the domain as shared with ordinary mailboxes."
    ]


@pytest.mark.parametrize("variant", ["fresh", "existing"])
def test_without_postfix_the_check_says_so(
    variant: str, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(place.etc))
    monkeypatch.setattr(programs, "_ADMINISTRATORS", str(place.etc))
    place.variant = (variant,)

    with pytest.raises(CommandError, match=r"postconf is neither in PATH nor in .*: is Postfix installed"):
        place.command("--check")


def test_postfix_is_found_by_users_without_its_directory_in_their_path(
    existing: Place, doors: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")

    assert existing.check() == []


def test_a_milter_is_for_a_postfix_of_its_own(place: Place) -> None:
    place.variant = ("existing", "--milter")

    for options in ((), ("--check",)):
        with pytest.raises(CommandError, match="for fresh only"):
            place.command(*options)


def test_a_directory_that_postfix_cannot_name_is_refused(place: Place) -> None:
    place.variant = ("existing",)
    place.written = place.written / "with space"

    with pytest.raises(CommandError, match="without spaces"):
        place.command()


def test_a_list_is_split_as_postfix_splits_it() -> None:
    text = "check_a_access x:y,  reject_rbl_client z.test permit_dnswl_client w.test {a, b} "
    text += "${x?{y z}:{}}, reject"

    assert split_list(text) == [
        "check_a_access x:y",
        "reject_rbl_client z.test",
        "permit_dnswl_client w.test",
        "{a, b}",
        "${x?{y z}:{}}",
        "reject",
    ]
