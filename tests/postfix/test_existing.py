"""An existing Postfix with mailboxes, after the commands of the README that `postfix_config existing` writes.

Its mailboxes lie in three kinds of domains, each shared with aliases: a Maildir by virtual(8), an
account by local(8), and a mailbox server behind it (a sink).
"""

import shutil
import smtplib
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from accounts.models import User
from aliases import issuing
from aliases.models import Alias
from domains.models import Audience, Domain
from mail.server.listening import endpoints
from tests.conftest import forwards_as_it_came, missing
from tests.postfix.beside import Beside
from tests.postfix.conftest import Site, queue_directory
from tests.postfix.sender import ACCEPTED, EVE, Told, figures, stranger, unknown
from tests.postfix.sender import send as send_octets
from tests.rig import mta
from tests.rig.mail_doors import Hop, running_doors_at
from tests.rig.mta import Ports, Postfix, Sink
from tests.rig.ports import free_port

# Complete: for this machine, where the tests are, such a Postfix adds to headers.
MESSAGE = (
    b"From: Eve <eve@sender.test>\r\nTo: you@sender.test\r\nDate: Mon, 2 Nov 2026 10:00:00 +0000\r\n"
    b"Message-Id: <1@sender.test>\r\nSubject: Hi\r\n\r\nHello\r\n"
)
# The mailbox bob in each kind of domain that is shared.
SHARED = ["bob@shared.test", "nobody@local.test", "bob@relayed.test"]
# The site's domains that Anonmail knows nothing of.
THEIRS = ["bob@theirs.test", "nobody@mx.site.test", "bob@theirs-too.test"]

MAIN_CF = """\
compatibility_level = 3.6
myhostname = mx.site.test
mydestination = $myhostname, local.test, localhost
mynetworks = 127.0.0.0/8
alias_maps = texthash:{directory}/aliases
mailbox_transport = smtp:[127.0.0.1]:{mailboxes}
virtual_mailbox_domains = texthash:{directory}/vdomains
virtual_mailbox_maps = texthash:{directory}/vmailbox
virtual_mailbox_base = {directory}/mail
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_alias_maps = texthash:{directory}/virtual
relay_domains = relayed.test, theirs-too.test
relay_recipient_maps = texthash:{directory}/relayed
transport_maps = texthash:{directory}/transports
recipient_delimiter = +
smtpd_recipient_restrictions = permit_mynetworks,
    reject_unauth_destination, check_sender_access inline:{{{{spammer@sender.test=REJECT}}}}
"""
FILES = {
    "aliases": "postmaster nobody\n",
    "vdomains": "shared.test x\ntheirs.test x\n",
    "vmailbox": "bob@shared.test bob/\npostmaster@shared.test boss/\nbob@theirs.test theirs/\n",
    "virtual": "info@shared.test bob@shared.test\n",
    "relayed": "bob@relayed.test x\npostmaster@relayed.test x\nbob@theirs-too.test x\n",
    # By domain, as people have them: an ordinary mailbox must go on this way.
    "transports": "relayed.test smtp:[127.0.0.1]:{mailboxes}\ntheirs-too.test smtp:[127.0.0.1]:{mailboxes}\n",
}


class Existing(Beside):
    """A Postfix of an administrator's, and our command and README."""

    @property
    def written(self) -> Path:
        return self.postfix.directory / "anonmail"

    def command(self, *options: str) -> str:
        """`manage.py postfix_config existing` for it."""
        out = StringIO()
        call_command(
            "postfix_config",
            "existing",
            f"--directory={self.written}",
            f"--postfix={self.postfix.directory}",
            f"--reinjection=127.0.0.1:{self.ports.reinjection}",
            *options,
            stdout=out,
            stderr=out,
        )
        return out.getvalue()

    def apply(self) -> None:
        """Write the files, and do what the README says, word for word."""
        self.command()
        follow_readme(self.written, self.postfix.directory)

    def check(self) -> list[str]:
        """What `--check` finds."""
        out = StringIO()
        try:
            call_command(
                "postfix_config",
                "existing",
                "--check",
                f"--directory={self.written}",
                f"--postfix={self.postfix.directory}",
                f"--reinjection=127.0.0.1:{self.ports.reinjection}",
                stdout=out,
            )
        except CommandError:
            return [line.removeprefix("- ") for line in out.getvalue().splitlines()]
        assert out.getvalue() == "Postfix and Anonmail agree: nothing is missing.\n"
        return []

    def mail_of(self, address: str, number: int = 1) -> list[bytes]:
        """So many messages in an ordinary mailbox, once they are there."""
        deadline = time.monotonic() + 15
        while len(found := self._mail_of(address)) < number:
            assert time.monotonic() < deadline, f"{len(found)} of {number} arrived"
            time.sleep(0.02)
        return found

    def _mail_of(self, address: str) -> list[bytes]:
        maildirs = dict(line.split() for line in FILES["vmailbox"].splitlines())
        if address in maildirs:
            new = self.postfix.directory / "mail" / maildirs[address] / "new"
            return [file.read_bytes() for file in new.glob("*")]
        return [message.content for message in self.theirs.arrived if message.recipient == address]


def follow_readme(written: Path, directory: Path) -> None:
    """Run the commands of a README, word for word."""
    steps = (written / "README").read_text().partition("3. ")[0]
    lines = [line.strip() for line in steps.splitlines() if line.startswith(" " * 7)]
    # The first one is a line of .env.
    commands = lines[1:]
    # Postfix waits while main.cf is younger than two seconds.
    script = f"""\
set -e
postfix() {{ touch -d -60seconds {directory}/main.cf; command postfix "$@"; }}
""" + "\n".join(commands)
    done = subprocess.run(["sh"], input=script, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr


@pytest.fixture(scope="session")
def their_postfix() -> Iterator[tuple[Postfix, Ports, int]]:
    """The Postfix as it is before Anonmail comes."""
    mailboxes = free_port()
    with ExitStack() as stack:
        directory = stack.enter_context(mta.directory())
        stack.enter_context(queue_directory(directory / "queue"))
        for name, content in FILES.items():
            (directory / name).write_text(content.format(mailboxes=mailboxes))
        main_cf = MAIN_CF.format(directory=directory, mailboxes=mailboxes)
        try:
            ports = Ports.free(directory / "queue")
            mta.install(
                directory, main_cf.replace("\n    ", " "), "", ports, {}, {"smtpd_error_sleep_time": "0"}
            )
        except mta.Missing as reason:
            missing(str(reason))
        yield stack.enter_context(mta.started(directory, ports)), ports, mailboxes


@pytest.fixture
def existing(
    their_postfix: tuple[Postfix, Ports, int], transactional_db: None, settings: Settings
) -> Iterator[Existing]:
    """The same with Anonmail beside its mailboxes; the domain example.com is Anonmail's alone."""
    postfix, ports, mailboxes = their_postfix
    for name, value in ports.settings().items():
        setattr(settings, name, value)
    settings.MAIL_SIZE_LIMIT = 10240000  # Postfix's own
    for name in ("shared.test", "local.test", "relayed.test", "example.com"):
        Domain.objects.create(
            name=name, anonmail_enabled=True, audience=Audience.EVERYONE, is_shared=name != "example.com"
        )
    shutil.rmtree(postfix.directory / "mail", ignore_errors=True)
    (postfix.directory / "mail").mkdir()
    shutil.chown(postfix.directory / "mail", "nobody")
    made = Existing(postfix, ports, mailboxes, settings)
    if not made.written.exists():
        made.apply()
    with mta.far_end(made.theirs, mailboxes):
        yield made
    postfix.empty()


@pytest.fixture
def anne(db: None) -> User:
    """Owns aliases; her own mailbox is elsewhere."""
    return forwards_as_it_came(User.objects.create_user("anne@home.test", "anne-password-12"))


def send(site: Site, *recipients: str, sender: str = EVE) -> Told:
    return send_octets(site, *recipients, sender=sender, content=MESSAGE)


def issue(owner: User, domain: str) -> Alias:
    return issuing.issue(owner=owner, domain=domain, destinations=[owner.email])


def same_address(alias: Alias, address: str) -> Alias:
    """The alias at the address of a mailbox: which the site's admin made later."""
    Alias.objects.filter(pk=alias.pk).update(address=address)
    alias.refresh_from_db()
    return alias


def outgoing(existing: Existing, recipient: str) -> None:
    """What a program on this machine sends."""
    with smtplib.SMTP("127.0.0.1", existing.ports.smtp, timeout=30) as client:
        client.sendmail("bob@theirs.test", recipient, MESSAGE)


def domain_of(address: str) -> str:
    return address.rpartition("@")[2]


@pytest.mark.parametrize("domain", [*map(domain_of, SHARED), "example.com"])
def test_an_alias_arrives_at_its_destination_with_and_without_a_tag(
    domain: str, existing: Existing, anne: User
) -> None:
    alias = issue(anne, domain)

    with existing.open() as site:
        told = send(site, alias.address)
        tagged = send(site, alias.address.replace("@", "+News@").upper())
        arrived = site.sink.wait_for(2)
        site.postfix.wait_until_idle()

    assert [answer[:9] for answer in told.data + tagged.data] == [ACCEPTED, ACCEPTED]
    assert {message.recipient for message in arrived} == {"anne@home.test"}
    assert all(message.sender.startswith("b.") for message in arrived)
    assert all(message.content.endswith(MESSAGE) for message in arrived)
    assert figures(alias) == (2, 0)
    assert existing.theirs.arrived == []
    assert list((existing.postfix.directory / "mail").iterdir()) == []


@pytest.mark.parametrize("address", SHARED)
def test_a_mailbox_has_its_mail_even_where_an_alias_has_the_same_address(
    address: str, existing: Existing, anne: User
) -> None:
    alias = same_address(issue(anne, domain_of(address)), address)
    tagged = address.replace("@", "+news@")

    with existing.open() as site:
        told = send(site, address)
        alias.disable()
        again = send(site, tagged)
        site.postfix.wait_until_idle()

    assert told.codes == again.codes == ["250"]
    if address == "bob@shared.test":
        assert len(existing.mail_of(address, 2)) == 2
    else:
        assert [message.recipient for message in existing.theirs.wait_for(2)] == [address, tagged]
    assert site.sink.arrived == []
    assert figures(alias) == (0, 0)


@pytest.mark.parametrize("domain", [*map(domain_of, SHARED), "example.com"])
def test_a_disabled_alias_and_an_unknown_address_are_refused_in_the_same_words(
    domain: str, existing: Existing, anne: User
) -> None:
    alias = issue(anne, domain)
    alias.disable()
    nobody = f"no-such-address@{domain}"

    with existing.open() as site, stranger(site) as eve:
        told = eve.send(alias.address, nobody)
        # Refused for another reason too: the answer must not depend on which is looked at first.
        spam = eve.send(alias.address, nobody, sender="spammer@sender.test")

    for answers in (told, spam):
        assert answers.recipients == {alias.address: unknown(alias.address), nobody: unknown(nobody)}
    assert figures(alias) == (0, 2)
    assert site.sink.arrived == existing.theirs.arrived == []


def test_the_sites_own_checks_go_on_for_aliases_and_mailboxes(existing: Existing, anne: User) -> None:
    alias = issue(anne, "shared.test")

    with existing.open() as site:
        told = send(site, alias.address, "bob@shared.test", sender="spammer@sender.test")

    assert told.codes == ["554", "554"]


@pytest.mark.parametrize("address", ["postmaster@shared.test", "postmaster@local.test", "info@shared.test"])
def test_the_sites_own_roles_and_aliases_stay(address: str, existing: Existing) -> None:
    with existing.open() as site:
        told = send(site, address)
        site.postfix.wait_until_idle()

    assert told.codes == ["250"]
    mailbox = {
        "postmaster@shared.test": "postmaster@shared.test",
        "postmaster@local.test": "nobody@mx.site.test",
        "info@shared.test": "bob@shared.test",
    }[address]
    assert len(existing.mail_of(mailbox)) == 1
    assert site.sink.arrived == []


def test_a_bounce_comes_to_us_in_a_shared_domain_too(existing: Existing, anne: User) -> None:
    alias = issue(anne, "shared.test")
    with existing.open() as site:
        send(site, alias.address)
        (arrived,) = site.sink.wait_for(1)

        bounce = send(site, arrived.sender, sender="")
        forged = send(site, arrived.sender)
        site.postfix.wait_until_idle()

    assert arrived.sender.endswith("@shared.test")
    assert bounce.codes == ["250"]
    assert forged.codes == ["550"]
    assert len(site.sink.arrived) == 1


def test_without_anonmail_everybody_elses_mail_goes_on_and_that_for_aliases_comes_later(
    existing: Existing, anne: User
) -> None:
    alias = issue(anne, "shared.test")
    ours = issue(anne, "example.com")
    mailboxes = [*SHARED, *THEIRS, "bob+news@shared.test", "info@shared.test"]

    told = {address: send(existing.closed, address) for address in mailboxes}
    away = {
        alias.address: send(existing.closed, alias.address),
        ours.address: send(existing.closed, ours.address),
    }
    refused = send(existing.closed, "no-such-address@theirs.test")

    assert [answers.codes for answers in told.values()] == [["250"]] * len(mailboxes)
    assert [answers.codes for answers in away.values()] == [["451"]] * 2
    assert refused.codes == ["550"]
    assert len(existing.mail_of("bob@shared.test", 3)) == 3
    assert len(existing.mail_of("bob@theirs.test")) == 1
    existing.theirs.wait_for(4)
    existing.postfix.wait_until_idle()
    with existing.open() as site:
        told = {address: send(site, address) for address in away}
        arrived = site.sink.wait_for(2)
    assert [answers.codes for answers in told.values()] == [["250"]] * 2
    assert [message.recipient for message in arrived] == ["anne@home.test"] * 2


def test_what_this_machine_sends_to_root_in_a_domain_of_ours_reaches_the_postmaster(
    existing: Existing,
) -> None:
    # Debian's cron, where /etc/mailname is that domain.
    root = "root@example.com"
    with existing.open() as site:
        told = send(site, root)
        command = ["/usr/sbin/sendmail", "-C", str(site.postfix.directory), "-f", root, root]
        subprocess.run(command, input=b"Subject: Cron\n\ncron\n", check=True, timeout=300)
        (arrived,) = site.sink.wait_for(1)

    assert told.codes == ["550"]
    assert (arrived.sender, arrived.recipient) == ("", "boss@boss.test")


def test_outgoing_mail_goes_on_without_anonmail(existing: Existing) -> None:
    sink = Sink()

    with mta.far_end(sink, existing.ports.sink):
        outgoing(existing, "somebody@elsewhere.test")
        (arrived,) = sink.wait_for(1)

    assert arrived.recipient == "somebody@elsewhere.test"


@pytest.mark.parametrize("domain", [*map(domain_of, SHARED), "example.com", "theirs.test"])
def test_a_stranger_cannot_relay_through_an_administrators_postfix(domain: str, existing: Existing) -> None:
    assert existing.relays(domain) == []


def test_what_was_accepted_waits_for_anonmail(existing: Existing, anne: User) -> None:
    alias = issue(anne, "shared.test")
    with running_doors_at(Hop(), {name: endpoints()[name] for name in ("policy", "socketmap")}):
        told = send(existing.closed, alias.address)
    (waiting,) = existing.postfix.queue()

    with existing.open() as site:
        site.postfix.wait_until_idle(flush=True)

    assert told.codes == ["250"]
    assert [recipient["address"] for recipient in waiting["recipients"]] == [
        f"{alias.address}.anonmail.invalid"
    ]
    assert [message.recipient for message in site.sink.arrived] == ["anne@home.test"]


def test_nothing_is_missing_and_a_second_run_changes_nothing(existing: Existing, anne: User) -> None:
    alias = issue(anne, "shared.test")
    directory = existing.postfix.directory
    files = [directory / "main.cf", directory / "master.cf", *existing.written.iterdir()]
    before = {file: [line for line in file.read_text().splitlines() if line[:1] != "#"] for file in files}

    existing.apply()

    after = {file: [line for line in file.read_text().splitlines() if line[:1] != "#"] for file in files}
    assert {file.name: lines for file, lines in after.items()} == {
        file.name: lines for file, lines in before.items()
    }
    with existing.open() as site:
        assert existing.check() == []
        send(site, alias.address)
        site.sink.wait_for(1)


def test_what_the_site_wrote_itself_stays_as_it_is_written(existing: Existing) -> None:
    directory = existing.postfix.directory
    now = existing.postfix.command("postconf", "-n").splitlines()

    for line in (
        f"virtual_mailbox_maps = texthash:{directory}/vmailbox",
        "mydestination = $myhostname, local.test, localhost",
        "recipient_delimiter = +",
    ):
        assert line in now
    changed = {line.partition(" = ")[0]: line for line in now}
    assert changed["transport_maps"].endswith(f", texthash:{directory}/transports")
    assert changed["smtpd_recipient_restrictions"].endswith(
        ", permit_mynetworks, reject_unauth_destination,"
        " check_sender_access inline:{{spammer@sender.test=REJECT}}"
    )
    assert not {"local_header_rewrite_clients", "message_drop_headers", "delay_warning_time"} & set(changed)
